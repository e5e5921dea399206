"""`vgcore demo`: the table, the figure and the paragraph of the default cells."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from vgcore import demo
from vgcore.study import load_study


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The demo, of few and small cells over few steps."""
    content = load_study("demo").resolved()
    content["n_draws"] = 8
    content["defaults"] |= {"n_hidden": 16, "n_steps": 120, "burn_in": 20}
    small = type(load_study("demo")).from_dict(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "load_study", lambda name: small)
        yield demo.run(tmp_path_factory.mktemp("demo"), n_workers=1, progress=False)


def test_it_leaves_the_promised_files(made):
    found = json.loads((made.folder / "decay.json").read_text())
    assert [c["cell"] for c in found["cells"]][:4] == ["RNN", "GRU", "LSTM", "LSTM, forget bias 1"]
    for cell, row in zip(found["cells"], made.table.to_dict("records"), strict=True):
        assert cell["rate"] == row["rate"]
        assert cell["lag"][0] == 0
        assert cell["log_norm"]["median"][0] == 0.0
    assert json.loads((made.folder / "manifest.json").read_text())["complete"]
    with Image.open(made.folder / "decay.png") as image:
        assert min(image.size) > 400
    assert (made.folder / "demo.md").read_text().strip() == made.paragraph


def test_the_paragraph_speaks_of_the_numbers(made):
    text = made.paragraph
    assert "16 units" in text
    assert "medians over 8 networks" in text
    assert "A gate that stays open lengthens memory" in text


def test_words_turn_with_the_numbers(made):
    worse = made.table.copy()
    worse["horizon"] = np.where(worse["series"].isin(demo.NAMES.values()), 50.0, 20.0)
    study = load_study("demo")
    assert "lengthens memory" not in demo.paragraph(worse, study)
    assert "With other biases it is" in demo.paragraph(worse, study)
