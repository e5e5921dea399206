"""Conditions, chunks and estimates."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import vgcore as vg
from vgcore.cell_kernels import prepare
from vgcore.errors import StudyError
from vgcore.study import plan
from vgcore.study.config import FACTORS, Study, load_study
from vgcore.study.plan import chunks, conditions, conditions_table, estimate, slices_table

SHARED = {
    "name": "shared",
    "n_draws": 5,
    "defaults": {"n_hidden": 8, "n_steps": 20},
    "slice": [
        {"name": "one", "grid": {"spectral_radius": [0.9, 1.0]}},
        {"name": "two", "n_draws": 9, "grid": {"spectral_radius": [1.0, 1.1]}},
        {
            "name": "three",
            "n_draws": 2,
            "grid": {"gain": [1.0], "init": ["sparse"], "law": [{"nonzeros": 3}]},
        },
    ],
}


def sized(n_draws, **defaults):
    grid = {"spectral_radius": [0.9, 1.0, 1.1]}
    return Study.from_dict(
        {
            "name": "sized",
            "n_draws": n_draws,
            "defaults": defaults,
            "slice": [{"name": "one", "grid": grid}],
        }
    )


def test_shared_condition_is_planned_once_with_the_larger_number_of_draws():
    found = conditions(Study.from_dict(SHARED))
    assert [c.index for c in found] == [0, 1, 2, 3]
    assert [c.condition.spectral_radius for c in found] == [0.9, 1.0, 1.1, None]
    assert [c.n_draws for c in found] == [5, 9, 9, 2]
    assert [c.slices for c in found] == [("one",), ("one", "two"), ("two",), ("three",)]


def test_tables_list_factors_and_membership():
    study = Study.from_dict(SHARED)
    table = conditions_table(study)
    assert list(table.columns) == ["condition", *FACTORS]
    assert table["spectral_radius"].tolist()[:3] == [0.9, 1.0, 1.1]
    assert np.isnan(table["spectral_radius"][3])
    assert table["gain"][3] == 1.0
    assert table["law"].tolist() == ["{}", "{}", "{}", '{"nonzeros": 3}']
    members = slices_table(study)
    assert members["slice"].tolist() == ["one", "one", "two", "two", "three"]
    assert members["condition"].tolist() == [0, 1, 1, 2, 3]


@given(
    n_draws=st.integers(1, 3000),
    n_hidden=st.sampled_from([1, 8, 32, 64, 256, 700]),
    n_steps=st.sampled_from([10, 1000, 100_000]),
    n_trajectories=st.sampled_from([1, 16]),
)
def test_chunks_cover_every_draw_once_within_cost_and_memory(
    n_draws, n_hidden, n_steps, n_trajectories
):
    study = sized(n_draws, n_hidden=n_hidden, n_steps=n_steps, n_trajectories=n_trajectories)
    condition = conditions(study)[0].condition
    cost, numbers = plan.draw_flop(condition), plan.numbers_flop(condition)
    assume(3 * n_draws * cost <= plan.MAX_CHUNKS * plan.CHUNK_FLOP)
    work = chunks(study)
    assert [chunk.index for chunk in work] == list(range(len(work)))
    items = [item for chunk in work for item in chunk.items]
    for index in range(3):
        blocks = [item for item in items if item.condition == index]
        assert blocks[0].start == 0
        assert blocks[-1].stop == n_draws
        assert all(one.stop == two.start for one, two in pairwise(blocks))
    size = plan.draw_bytes(condition)
    for chunk in work:
        first, n = plan.Item(-1, 0, 0), 0  # draws whose numbers are not those of the item before
        for item in chunk.items:
            n += 0 if item[1:] == first[1:] else item.stop - item.start
            first = item
        assert chunk.flop == pytest.approx(chunk.n_draws * (cost - numbers) + n * numbers)
        assert chunk.flop <= plan.CHUNK_FLOP or chunk.n_draws == 1
        assert all(
            (item.stop - item.start) * size <= plan.ITEM_BYTES or item.stop - item.start == 1
            for item in chunk.items
        )


def test_large_studies_are_cut_into_chunks_of_about_equal_cost():
    costs = [chunk.flop for chunk in chunks(load_study("atlas"))]
    assert max(costs) <= plan.CHUNK_FLOP
    # where a block of costly draws does not fit any more, a chunk ends early
    assert np.mean(np.array(costs) > 0.33 * max(costs)) > 0.9


def test_conditions_that_share_their_numbers_stand_side_by_side():
    study = load_study("atlas")
    found = [c.condition for c in conditions(study)]

    def shared(item):
        c = found[item.condition]
        return (item.start, item.stop, c.n_hidden, c.n_steps, c.init, c.law)

    items = [item for chunk in chunks(study) for item in chunk.items]
    drawn = sum(1 for one, two in pairwise(items) if shared(one) != shared(two))
    assert drawn < len(items) / 3


def test_a_chunk_holds_several_conditions_however_many_draws_there_are():
    for n_hidden in (16, 64, 256):
        grid = {"spectral_radius": list(np.linspace(0.5, 1.5, 16))}
        content = {"name": "a", "n_draws": 5000, "slice": [{"name": "a", "grid": grid}]}
        work = chunks(Study.from_dict({**content, "defaults": {"n_hidden": n_hidden}}))
        sharing = [len({i.condition for i in chunk.items}) for chunk in work[:-1]]
        assert min(sharing) >= 6


def test_blocks_of_small_networks_start_at_whole_simd_groups():
    starts = [i.start for c in chunks(sized(5000, n_hidden=16)) for i in c.items]
    assert not any(start % plan.GRAIN for start in starts)


def test_a_draw_that_does_not_fit_in_memory_is_refused():
    with pytest.raises(StudyError, match=r"condition 0 \(slice one\): one draw takes .* GiB"):
        chunks(sized(1, n_steps=10_000_000, n_trajectories=100))


def test_slopes_of_draws_side_by_side_count_until_they_go_one_by_one():
    few, many = (
        plan.scratch_bytes(conditions(sized(1, n_hidden=16, n_steps=n))[0].condition)
        for n in (1000, 1_000_000)
    )
    assert few == 8 * 1000 * 16 * 8  # eight draws side by side
    assert many == 2 * 1_000_000 * 16 * 8


@pytest.mark.parametrize(("n_hidden", "n_trajectories"), [(16, 1), (16, 3), (40, 20), (128, 1)])
@pytest.mark.parametrize(("name", "cell"), [("lstm", vg.LSTM), ("gru", vg.GRU)])
def test_rows_of_gated_cells_side_by_side_count(name, cell, n_hidden, n_trajectories):
    study = sized(1, cell=name, n_hidden=n_hidden, n_steps=50, n_trajectories=n_trajectories)
    nets = cell.draw(240, n_hidden, rng=1)  # as many as go side by side divide evenly
    *_, scratch, _ = prepare(nets, 50, 0, n_trajectories)
    expected = scratch()[0].keep[1:].nbytes
    assert plan.scratch_bytes(conditions(study)[0].condition) == expected


def test_atlas_has_the_promised_number_of_draws():
    planned = estimate(load_study("atlas"))
    assert planned.n_draws >= 30_000
    assert min(c.n_draws for c in conditions(load_study("atlas"))) >= 100


def test_full_atlas_is_the_atlas_with_ten_times_the_draws():
    small, full = conditions(load_study("atlas")), conditions(load_study("atlas-full"))
    assert [c.condition for c in small] == [c.condition for c in full]
    assert [10 * c.n_draws for c in small] == [c.n_draws for c in full]


@pytest.mark.parametrize("name", ["smoke", "atlas"])
def test_shares_of_a_study_add_up_to_it(name):
    study = load_study(name)
    whole, parts = estimate(study), [estimate(study, (i, 3)) for i in (1, 2, 3)]
    planned = conditions(study)
    assert whole.n_draws == sum(c.n_draws for c in planned)
    for quantity in ("n_draws", "n_chunks", "n_bytes", "flop", "most_draws"):
        total = sum(getattr(one, quantity) for one in parts)
        assert total == pytest.approx(getattr(whole, quantity), rel=1e-12)
    assert max(one.longest_flop for one in parts) == whole.longest_flop
    assert max(one.n_conditions for one in parts) <= whole.n_conditions == len(planned)
    assert estimate(study, (1000, 1000)).n_draws == 0


def test_estimated_time_shrinks_with_workers_down_to_the_longest_chunk():
    planned = estimate(load_study("atlas"))
    assert planned.seconds(1e10, 2) == pytest.approx(planned.seconds(1e10, 1) / 2)
    assert planned.seconds(1e10, 10**6) == planned.longest_flop / 1e10
    assert planned.seconds(1e10) <= planned.seconds(1e10, 1)


def test_the_scratch_of_a_draw_counts_as_its_memory():
    study = Study.from_dict(
        {
            "name": "long",
            "defaults": {"n_hidden": 512, "n_steps": 2_000_000, "n_inputs": 1},
            "slice": [{"name": "one", "grid": {"gain": [1.0]}}],
        }
    )
    with pytest.raises(StudyError, match=r"condition 0 \(slice one\): one draw takes .* GiB"):
        chunks(study)
