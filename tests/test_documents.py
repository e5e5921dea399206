"""What the documents show is what happens: docstring examples, the README's code, its links."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import math
import re
import runpy
from dataclasses import is_dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import vgcore as vg
from vgcore.bench.peers import available
from vgcore.report.words import horizon_text, rate_text

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "vgcore").rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def public():
    """Name and object of what a user calls: functions, classes and the methods of cells."""
    for space in (vg, vg.remedies, vg.training, vg.theory):
        for name in space.__all__:
            value = getattr(space, name)
            if inspect.ismodule(value) or not callable(value):
                continue
            yield f"{space.__name__}.{name}", value
            if space is vg and inspect.isclass(value):
                for method, found in inspect.getmembers(value, callable):
                    # these two are for studies and kernels
                    if not method.startswith("_") and method not in ("of_blocks", "layers_before"):
                        yield f"{space.__name__}.{name}.{method}", found


@pytest.mark.parametrize(
    ("name", "value"), list(public()), ids=lambda v: v if type(v) is str else ""
)
def test_every_public_name_says_what_it_takes_and_gives(name, value):
    text = inspect.getdoc(value)

    def has(section):
        return f"\n{section}\n{'-' * len(section)}\n" in text

    if inspect.isclass(value):
        assert has("Attributes"), "no Attributes"
        if not is_dataclass(value) and not hasattr(value, "_fields"):  # what a user makes himself
            assert has("Parameters"), "no Parameters"
            assert has("Raises"), "no Raises"
            assert ">>>" in text, "no example"
        return
    assert has("Returns"), "no Returns"
    assert ">>>" in text, "no example"
    for argument in set(inspect.signature(value).parameters) - {"self"}:
        assert has("Parameters"), "no Parameters"
        assert re.search(rf"\b{argument}\b", text), f"{argument} is not explained"


def test_the_first_minute_of_the_readme_runs():
    mpl.use("Agg")
    text = (ROOT / "README.md").read_text()
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        needs_torch = "import torch" in code
        if "load_results" not in code and (not needs_torch or available("torch")):
            exec(code, names)
    assert names["profile"].log_norm.shape == (1000, 1, 301)
    assert f"median {np.median(names['profile'].rate().value):.3f} nats" in text
    expected = vg.theory.largest_exponent("tanh", names["gain"], input_variance=1.0)
    assert f"wide networks of this gain: {expected:.3f}" in text


def test_the_readmes_study_loads(tmp_path):
    text = (ROOT / "README.md").read_text()
    study, more, rule = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for content in (study, study + more, rule + study.replace("n_draws", "# n_draws")):
        (tmp_path / "mine.toml").write_text(content)
        assert vg.load_study(tmp_path / "mine.toml").name == "mine"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(document):
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readme_states_the_atlas_as_it_is():
    from vgcore.study.plan import estimate

    planned = estimate(vg.load_study("atlas"))
    text = (ROOT / "README.md").read_text()
    assert f"{planned.n_conditions:,} conditions, {planned.n_draws:,} random networks" in text


def test_the_readmes_numbers_are_those_of_the_committed_demo():
    found = json.loads((ROOT / "reports" / "demo" / "decay.json").read_text())
    assert found["study_digest"] == vg.load_study("demo").digest
    horizon = {cell["cell"]: cell["horizon"] for cell in found["cells"]}
    rnn, gru, lstm = (f"{horizon[name]:.0f}" for name in ("RNN", "GRU", "LSTM"))
    one, two = (f"{horizon[f'LSTM, forget bias {bias}']:.0f}" for bias in (1, 2))
    assert horizon["LSTM, forget bias 3"] is None
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"lose all but 1/1000 within {rnn}, {gru} and {lstm} steps" in text
    assert f"carries the LSTM to {one}, {two} and beyond {found['n_steps']}" in text


def cells_of_the_demo():
    """A row a cell, as the demo prints it, from its committed file."""
    found = json.loads((ROOT / "reports" / "demo" / "decay.json").read_text())
    for cell in found["cells"]:
        beyond = {key: math.inf for key, value in cell.items() if value is None}
        row = {**cell, **beyond, "n_steps": found["n_steps"]}
        yield f"| {cell['cell']} | {horizon_text(row)} | {rate_text(row)} |"


def test_the_readmes_table_is_that_of_the_committed_demo():
    text = (ROOT / "README.md").read_text()
    assert "\n".join(cells_of_the_demo()) in text


def test_the_committed_report_is_of_this_version_and_study():
    manifest = json.loads((ROOT / "reports" / "atlas" / "manifest.json").read_text())
    assert manifest["study_digest"] == vg.load_study("atlas").digest
    assert manifest["versions"]["vgcore"] == vg.__version__
    assert manifest["complete"]


def test_the_benchmark_page_is_that_of_its_run(tmp_path):
    """Nothing in it, or in the profile beside the benchmarks, was typed by hand."""
    from vgcore.bench.page import write_page
    from vgcore.bench.record import load

    folder = ROOT / "reports" / "benchmarks"
    run = load(folder / "run.json")
    write_page(run, tmp_path)
    for name in ("report.md", "benchmarks.csv", "run.json"):
        assert (tmp_path / name).read_text() == (folder / name).read_text(), name
    home = ROOT / "benchmarks"
    names = runpy.run_path(str(home / "write_profile.py"))
    text = (home / "README.md").read_text()
    assert names["with_profile"](text, run) == text


def test_versions_agree():
    assert f"version: {vg.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {vg.__version__} " in (ROOT / "CHANGELOG.md").read_text()
