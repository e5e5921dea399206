"""What the documents show is what happens: docstring examples, the README's code, its links."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import matplotlib as mpl
import pytest

import vgcore as vg

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


@pytest.mark.parametrize("name", ["draw_weights", "gradient_profile", "spectral_radius", "RNN"])
def test_public_functions_have_an_example(name):
    value = getattr(vg, name)
    assert ">>>" in value.__doc__
    assert "Raises" in value.__doc__


def test_the_first_minute_of_the_readme_runs():
    mpl.use("Agg")
    text = (ROOT / "README.md").read_text()
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "load_results" not in code:
            exec(code, names)
    assert names["profile"].log_norm.shape == (1000, 1, 301)


def test_the_readmes_study_loads(tmp_path):
    text = (ROOT / "README.md").read_text()
    (study,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.toml").write_text(study)
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


def test_versions_agree():
    assert f"version: {vg.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {vg.__version__} " in (ROOT / "CHANGELOG.md").read_text()
