"""Study files: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

import contextlib
import json
import os
import string
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgcore.errors import StudyError
from vgcore.study.config import MAX_CONDITIONS, Study, load_study, shipped_studies
from vgcore.study.plan import estimate

GOOD = {"name": "mine", "slice": [{"name": "one", "grid": {"spectral_radius": [0.9, 1.0]}}]}


def study(**changes):
    return Study.from_dict({**GOOD, **changes}, "mine.toml")


def one_slice(**keys):
    return study(slice=[{"name": "one", "grid": {"spectral_radius": [0.9, 1.0]}, **keys}])


def message(**changes):
    with pytest.raises(StudyError) as error:
        study(**changes)
    return str(error.value)


def slice_message(**keys):
    with pytest.raises(StudyError) as error:
        one_slice(**keys)
    return str(error.value)


def points(found):
    return [point for part in found.slices for point in part.points(found.defaults)]


# ---- what a study means


def test_defaults_fill_what_a_slice_leaves_out():
    found = points(one_slice(fixed={"n_hidden": 32}))
    assert [p.spectral_radius for p in found] == [0.9, 1.0]
    assert {(p.n_hidden, p.activation, p.n_steps) for p in found} == {(32, "tanh", 1000)}


def test_integers_become_floats_where_a_float_is_meant():
    assert (
        one_slice(grid={"spectral_radius": [1]}).digest
        == one_slice(grid={"spectral_radius": [1.0]}).digest
    )


def test_gain_in_a_slice_drops_the_inherited_radius_and_the_other_way_round():
    (point,) = points(one_slice(grid={"gain": [1.5]}))
    assert (point.gain, point.spectral_radius) == (1.5, None)
    other = study(defaults={"gain": 2.0}, slice=[{"name": "one", "grid": {"n_hidden": [8]}}])
    assert (points(other)[0].gain, points(other)[0].spectral_radius) == (2.0, None)
    back = study(defaults={"gain": 2.0})
    assert [(p.gain, p.spectral_radius) for p in points(back)] == [(None, 0.9), (None, 1.0)]


def test_as_drawn_leaves_the_scale_to_the_initializer():
    (point,) = points(one_slice(grid={"spectral_radius": ["as_drawn"]}))
    assert (point.gain, point.spectral_radius) == (None, None)


def test_order_of_keys_in_a_grid_changes_neither_digest_nor_numbering():
    one = one_slice(grid={"n_hidden": [8, 16], "init": ["gaussian", "sparse"]})
    two = one_slice(grid={"init": ["gaussian", "sparse"], "n_hidden": [8, 16]})
    assert one.digest == two.digest
    assert points(one) == points(two)


def test_digest_sees_numbers_and_not_titles():
    digest = study().digest
    assert study(title="other", description="words", name="other").digest == digest
    for change in (
        {"seed": 2},
        {"n_draws": 7},
        {"measure": {"eps": 0.1}},
        {"defaults": {"burn_in": 1}},
    ):
        assert study(**change).digest != digest


# ---- round trip


@pytest.mark.parametrize("name", shipped_studies())
def test_resolved_shipped_study_comes_back_from_toml_and_json(name):
    found = load_study(name)
    assert Study.from_dict(tomllib.loads(found.to_toml())) == found
    again = Study.from_dict(json.loads(json.dumps(found.resolved())))
    assert again.digest == found.digest


text = st.text(max_size=20)
radius = st.floats(1e-300, 1e300) | st.just("as_drawn")
sparse = st.fixed_dictionaries({}, optional={"nonzeros": st.integers(1, 20)})


@given(
    title=text,
    description=text,
    seed=st.integers(0, 2**63 - 1),
    radii=st.lists(radius, min_size=1, unique=True),
    gain=st.floats(1e-300, 1e300),
    laws=st.lists(sparse, min_size=1, max_size=3, unique_by=str),
)
def test_any_study_comes_back_from_toml(title, description, seed, radii, gain, laws):
    slices = [
        {"name": "one", "title": title, "grid": {"spectral_radius": radii}},
        {"name": "two", "n_draws": 3, "fixed": {"init": "sparse"}, "grid": {"law": laws}},
    ]
    found = study(
        title=title, description=description, seed=seed, defaults={"gain": gain}, slice=slices
    )
    again = Study.from_dict(tomllib.loads(found.to_toml()))
    assert again == found
    assert again.digest == found.digest


# ---- refusals


def test_unknown_keys_get_the_nearest_valid_one():
    assert "mine.toml: n_drws: unknown key; did you mean 'n_draws'?" in message(n_drws=3)
    assert "did you mean 'n_steps'?" in slice_message(fixed={"n_step": 3})
    assert "did you mean 'rate_window'?" in message(measure={"rate_windw": [0, 1]})
    assert "did you mean 'fixed'?" in slice_message(fixd={})


@pytest.mark.parametrize(
    ("factor", "value"),
    [
        ("n_hidden", True),
        ("n_hidden", "64"),
        ("n_hidden", 64.0),
        ("n_hidden", 0),
        ("n_hidden", 4097),
        ("n_steps", 10_000_001),
        pytest.param("n_steps", 10**5000, id="n_steps-too-long-to-print"),
        ("spectral_radius", "0.9"),
        ("spectral_radius", True),
        ("spectral_radius", 0.0),
        ("spectral_radius", float("nan")),
        ("spectral_radius", float("inf")),
        ("spectral_radius", 10**400),
        ("gain", None),
        ("input_variance", -0.1),
        ("dtype", "float16"),
        ("cell", "lstn"),
        ("cell", {"name": "lstm", "forget_bias": "1"}),
        ("cell", {"name": "lstm", "forget": 1.0}),
        ("cell", {"name": "lstm", "forget_bias": 1.0, "chrono": 100.0}),
        ("cell", {"name": "leaky", "leak": 0.0}),
        ("cell", {"name": "leaky", "density": 1.5}),
        ("cell", {"forget_bias": 1.0}),
        ("remedy", "truncate"),
        ("remedy", 3),
        ("remedy", {"name": "truncation", "k": 0}),
        ("remedy", {"name": "truncation", "k": float("inf")}),
        ("remedy", {"name": "clip_norm", "threshold": -1.0}),
        ("remedy", {"name": "omega", "learning_rate": 0.0}),
        ("remedy", {"name": "l2", "n_updates": -1}),
        ("remedy", {"name": "orthogonal", "gain": 2.0}),
        ("remedy", {"name": "gru", "chrono": 1.0}),
        ("law", [1]),
        ("law", {"nonzeros": float("nan")}),
        ("init", 3),
    ],
)
def test_wrong_values_are_named_with_their_place(factor, value):
    assert f"slice 1 (one) > fixed > {factor}" in slice_message(
        fixed={factor: value}, grid={"seed": [1]}
    )
    assert f"slice 1 (one) > grid > {factor} > value 1: " in slice_message(grid={factor: [value]})
    assert f"mine.toml: defaults > {factor}: " in message(defaults={factor: value})


def test_names_are_checked_against_the_tables():
    assert "did you mean 'gaussian'?" in slice_message(fixed={"init": "gausian"})
    assert "did you mean 'tanh'?" in message(defaults={"activation": "tan"})


def test_keywords_must_be_ones_of_the_initializer():
    text = slice_message(grid={"init": ["sparse", "gaussian"], "law": [{"nonzeros": 3}]})
    assert "slice 1 (one) > law: found the keyword 'nonzeros'" in text
    assert "init = 'gaussian' does not take" in text


@pytest.mark.parametrize("name", ["", "a/b", "..", "A", "-a", "a b", "a.b", "a\n", "ä", 3])
def test_names_that_are_no_folder_names_are_refused(name):
    assert "name: found" in message(name=name)


def test_empty_repeated_and_overlapping_grids_are_refused():
    assert "found [], expected at least one value" in slice_message(grid={"n_hidden": []})
    assert "> grid: found no factor" in slice_message(grid={})
    assert "n_hidden: found 8 twice" in slice_message(grid={"n_hidden": [8, 16, 8]})
    assert "spectral_radius: found 1.0 twice" in slice_message(grid={"spectral_radius": [1, 1.0]})
    assert "also stands in this slice's grid" in slice_message(
        grid={"n_hidden": [8]}, fixed={"n_hidden": 8}
    )
    assert "expected a list in brackets; write [8]" in slice_message(grid={"n_hidden": 8})


def test_gain_beside_spectral_radius_is_refused():
    assert "found both" in message(defaults={"gain": 1.0, "spectral_radius": 1.0})
    assert "slice 1 (one): found both" in slice_message(fixed={"gain": 1.0})


def test_slices_that_add_nothing_or_share_a_name_are_refused():
    one = {"name": "one", "grid": {"spectral_radius": [0.9, 1.0]}}
    assert "slice 2 (two): every condition" in message(
        slice=[one, {"name": "two", "grid": {"spectral_radius": [1.0]}}]
    )
    assert "found the name 'one' a second time" in message(
        slice=[one, {"name": "one", "grid": {"spectral_radius": [2.0]}}]
    )


def test_too_large_a_grid_is_refused_before_it_is_expanded():
    values = list(range(1, 4001))
    grid = {"n_hidden": values, "n_steps": values, "burn_in": values, "n_inputs": values}
    assert f"at most {MAX_CONDITIONS:,}" in slice_message(grid=grid)
    assert "at most 1,000,000,000" in message(n_draws=10**9)


def test_rate_window_must_hold_two_lags():
    assert "0 <= first < last <= 1" in message(measure={"rate_window": [0.5, 0.5]})
    narrow = {"rate_window": [0.0, 0.2]}
    assert "fewer than two lags" in message(measure=narrow, defaults={"n_steps": 2})
    assert study(defaults={"n_steps": 1}).defaults.n_steps == 1


def test_values_of_a_laws_keywords_are_tried():
    text = slice_message(fixed={"init": "sparse", "law": {"nonzeros": 100}, "n_hidden": 8})
    assert "law: init = 'sparse' with n_hidden = 8: nonzeros: found 100" in text


def test_several_faults_are_told_at_once():
    text = message(seed=True, n_drws=1, defaults={"n_hidden": "64"})
    assert text.startswith("mine.toml: 3 faults\n")
    assert {line.strip().split(":")[0] for line in text.splitlines()[1:]} == {
        "seed",
        "n_drws",
        "defaults > n_hidden",
    }


# ---- files


def test_unknown_study_gets_the_nearest_name_and_the_list():
    with pytest.raises(StudyError, match=r"did you mean 'atlas'\?.*smoke"):
        load_study("atlsa")


def test_file_faults_become_study_errors(tmp_path):
    file = tmp_path / "mine.toml"
    with pytest.raises(StudyError, match="no such file"):
        load_study(file)
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(tmp_path)
    file.write_bytes(b"name = 'a'\nseed = = 3\n")
    with pytest.raises(StudyError, match=r"mine\.toml: not valid TOML.*line 2, column 8"):
        load_study(file)
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(StudyError, match="not UTF-8"):
        load_study(str(file))
    file.write_bytes(b"a = " + b"[" * 100_000)
    with pytest.raises(StudyError, match="not valid TOML"):
        load_study(file)
    file.write_bytes(b"seed = " + b"9" * 5000)
    with pytest.raises(StudyError, match="not valid TOML"):
        load_study(file)


def test_a_study_extends_another_by_name_or_path(tmp_path):
    parent = load_study("smoke")
    (tmp_path / "a.toml").write_text(
        'extends = "smoke"\nname = "a"\nn_draws = 3\n[defaults]\ngain = 2.0\n[measure]\neps = 0.5\n'
    )
    (tmp_path / "b.toml").write_text('extends = "a.toml"\nname = "b"\nseed = 9\n')
    found = load_study(tmp_path / "b.toml")
    assert (found.name, found.seed, found.n_draws, found.measure.eps) == ("b", 9, 3, 0.5)
    assert (found.defaults.gain, found.defaults.spectral_radius) == (2.0, None)
    assert found.defaults.n_hidden == parent.defaults.n_hidden
    assert found.slices == parent.slices


def test_extending_in_a_circle_or_without_a_name_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"\nname = "a"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\nname = "b"\n')
    with pytest.raises(StudyError, match="runs in a circle"):
        load_study(tmp_path / "a.toml")
    (tmp_path / "c.toml").write_text('extends = "smoke"\n')
    with pytest.raises(StudyError, match="name: missing"):
        load_study(tmp_path / "c.toml")


# ---- no file whatever gets past the checks with another exception

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
factors = st.dictionaries(
    st.sampled_from(["init", "spectral_radius", "gain", "n_hidden", "n_steps", "law", "x"]),
    values | st.lists(scalars, max_size=3),
    max_size=3,
)
slices = st.fixed_dictionaries({}, optional={"name": values, "fixed": factors, "grid": factors})


@settings(max_examples=200)
@given(
    data=st.fixed_dictionaries(
        {},
        optional={
            "name": st.just("a") | values,
            "seed": values,
            "n_draws": values,
            "defaults": factors | values,
            "measure": values | st.fixed_dictionaries({"rate_window": values, "eps": values}),
            "slice": values | st.lists(slices, max_size=2),
            "other": values,
        },
    )
)
def test_any_data_gives_a_study_or_a_study_error(data):
    with contextlib.suppress(StudyError):
        assert isinstance(Study.from_dict(data), Study)


@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_file_gives_a_study_or_a_study_error(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    with pytest.raises(StudyError, match=r"any\.toml"):
        load_study(file)


def test_a_byte_order_mark_of_an_editor_is_no_fault(tmp_path):
    text = '\ufeffname = "mine"\n[[slice]]\nname = "a"\n[slice.grid]\ngain = [1.0]\n'
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert load_study(tmp_path / "mine.toml").name == "mine"


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes")
def test_a_study_file_is_a_file_of_some_size(tmp_path):
    endless, pipe, huge = (tmp_path / f"{name}.toml" for name in ("endless", "pipe", "huge"))
    endless.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    huge.write_bytes(b"#" * (16 * 2**20 + 1))
    for path in (endless, pipe, huge):
        (tmp_path / "child.toml").write_text(f'extends = "{path}"\n')
        for named in (path, tmp_path / "child.toml"):
            with pytest.raises(StudyError, match=r"not a file|expected at most 16,777,216"):
                load_study(named)


WHOLE = Study.from_dict(
    {
        "name": "whole",
        "precision": {"half_width": 0.01},
        "slice": [
            {
                "name": "one",
                "fixed": {"cell": {"name": "lstm", "forget_bias": 1.0}},
                "grid": {"remedy": ["none", {"name": "gru"}], "gain": [0.5, 1.0]},
            },
            {"name": "two", "n_draws": 3, "grid": {"remedy": [{"name": "truncation", "k": 20}]}},
        ],
    }
)
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from([10**9, 10**12, 10**400, 1e308, 5e-324, "../x", "as_drawn", "lstm", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=4,
)  # fmt: skip


def _places(value, path=()):
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_an_edited_study_is_planned_or_refused(data):
    edited = WHOLE.resolved()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(_places(edited))))
        inner = edited
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = data.draw(HOSTILE)
    with contextlib.suppress(StudyError):
        study = Study.from_dict(edited)
        assert estimate(study).most_draws >= estimate(study).n_draws > 0
        assert Study.from_dict(tomllib.loads(study.to_toml())) == study
