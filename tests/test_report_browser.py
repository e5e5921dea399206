"""The page of a report in a real browser: nothing asked for, nothing amiss, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from test_report import simulate, small_study

from vgcore.report import write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HIDDEN = "document.querySelectorAll('table.lags [hidden]').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(simulate(small_study()), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.mark.parametrize("width", [400, 800, 1600])
def test_the_page_is_quiet_and_fits(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run(OVERFLOW) == 0
    assert browser.complaints() == []
    broken = "[...document.images].filter((one) => !one.complete || !one.naturalWidth).length"
    assert browser.run(broken) == 0
    assert browser.run("document.images.length") > 10


def test_what_is_amiss_would_be_found(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<div style='width: 900px'>wide</div><script>missing()</script><img src='no.png'>"
    )
    browser.open(bad, width=400)
    assert browser.run(OVERFLOW) > 400
    methods = {event["method"] for event in browser.complaints()}
    assert {"Runtime.exceptionThrown", "Network.requestWillBeSent"} <= methods


def test_the_slider_shows_one_lag_and_tables_sort(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run(HIDDEN) == 0
    browser.run(
        "for (const one of document.querySelectorAll('.slider input')) {"
        "one.value = 3; one.dispatchEvent(new Event('input')); }"
    )
    table = "document.querySelector('table.lags')"
    seen = f"[...{table}.rows].map((r) => [...r.cells].filter((c) => !c.hidden).length)"
    assert set(browser.run(seen)) == {2}
    assert browser.run("document.querySelector('.slider output').textContent") == browser.run(
        f"{table}.rows[0].cells[3].textContent"
    )
    browser.run("document.querySelector('#conditions ~ details th button').click()")
    order = "document.querySelector('#conditions ~ details th').getAttribute('aria-sort')"
    assert browser.run(order) == "ascending"
    assert browser.complaints() == []


def test_the_page_reads_without_scripts(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, width=400)
        assert browser.run("document.querySelectorAll('.slider, th button').length") == 0
        assert browser.run(HIDDEN) == 0
        assert browser.run(OVERFLOW) == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_dark_and_print_change_the_paper(browser: Browser, page: Path) -> None:
    browser.open(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    browser.call("Emulation.setEmulatedMedia", features=[feature])
    assert browser.run(paper) == "rgb(20, 23, 26)"
    browser.call("Emulation.setEmulatedMedia", media="print", features=[feature])
    assert browser.run(paper) == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert len(browser.call("Page.printToPDF")["data"]) > 10_000
