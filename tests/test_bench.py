"""The benchmarks themselves: their table, statistics, comparison, page and command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from vgcore import cli
from vgcore.bench import child, compare, figures, limits, record, suite, targets, text, timing
from vgcore.bench.limits import Bound, Limits
from vgcore.bench.machine import blas_warning, machine, software
from vgcore.bench.operations import OPERATIONS, OURS, SIZES, Case, Load, find, not_installed, table
from vgcore.bench.page import write_page
from vgcore.bench.record import REFERENCE, Row, Run
from vgcore.bench.timing import Interval
from vgcore.errors import StoreError
from vgcore.kernels import bandwidth
from vgcore.kernels.vectors import BYTES, aligned_zeros


def made_limits(**changes):
    """Limits of a round machine: 100 GFLOP/s, loads of 200, 80 and 10 GB/s."""
    found = Limits(
        n_threads=2,
        multiply_add={"float32": 200e9, "float64": 100e9},
        gemm={"float32": 180e9, "float64": 90e9},
        bytes_loaded=(2**14, 2**15, 2**20, 2**27),
        bandwidth=(190e9, 200e9, 80e9, 10e9),
        caches={"L1": 2**15, "L2": 2**20},
        tanh={"float32": 4e9, "float64": 2e9},
    )
    return dataclasses.replace(found, **changes)


def made_run(ours=1.0, peer=4.0, seed=0, rounds=7, sizes=(16, 32), operation="gradient_profile"):
    """A run with rows whose times have a spread of 1 %."""
    rng = np.random.default_rng(seed)

    def times(seconds):
        return list(seconds * (1 + 0.01 * rng.standard_normal(rounds)))

    rows = [
        Row(
            operation,
            Case(n, 1000, 500),
            {OURS: times(ours), "numpy": times(peer), "torch": [9.0], REFERENCE: times(0.1)},
            flop=1e10,
            intensity=0.25,
            bound=Bound(2e10, "L1 loads"),
            tanh_seconds=0.2,
        )
        for n in sizes
    ]
    return Run(
        "full",
        machine(),
        software(),
        {"began": "now", "seconds": 1.0},
        made_limits(),
        rows,
        ["jax_map"],
    )


# --- the table ------------------------------------------------------------------------------


def test_the_table_is_well_formed():
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    for operation in OPERATIONS:
        assert set(operation.cases) == set(SIZES)
        for size in SIZES:
            cases = operation.cases[size]
            assert cases
            assert len(set(cases)) == len(cases)
            for case in cases:
                assert case.dtype in ("float32", "float64")
                assert min(case.n_hidden, case.n_draws, case.n_trajectories) >= 1
        if operation.peers and operation.tolerance:
            assert set(operation.tolerance) == {case.dtype for case in operation.cases["full"]}


def test_counts_are_those_of_a_profile_by_hand():
    case, operation = Case(10, 3, 7, 2, "float32"), find("gradient_profile")
    counts = operation.counts(case)
    assert counts.flop == 3 * 2 * 7 * 2 * (2 * 10**2)  # draws, rows, steps, two passes
    assert counts.loads == ((3 * 7 * 2 * 10**2 * 4, 10**2 * 4),)  # a matrix serves both rows
    assert counts.intensity == 1.0
    assert counts.tanh == 3 * 2 * 7 * 10  # on the way there


def test_matrices_of_layers_come_from_where_all_draws_lie_and_then_from_where_one_does():
    counts = find("deep_profile").counts(Case(10, 3, 7))
    draw = 7 * 10**2 * 8
    assert counts.loads == ((3 * draw, 3 * draw), (3 * draw, draw))


def test_every_library_has_its_peer():
    libraries = {name.partition("_")[0] for name in find("gradient_profile").peers}
    assert libraries == {"numpy", "torch", "jax"}


def test_table_yields_one_operation_alone():
    assert {operation.name for operation, _ in table("smoke", "spectral_radius")} == {
        "spectral_radius"
    }


# --- limits -----------------------------------------------------------------------------------


def test_measured_limits_are_positive_and_fall_with_the_working_set():
    found = limits.measure(rounds=1, length=1e-4)
    assert min(*found.multiply_add.values(), *found.bandwidth) > 0
    rates = [found.bandwidth_of(size) for size in found.bytes_loaded]
    assert all(a >= b for a, b in itertools.pairwise(rates))
    assert limits.from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_a_larger_working_set_lifts_what_a_smaller_one_measured():
    found = made_limits()
    assert found.bandwidth_of(1000) == 200e9  # 190 at 16 KiB is noise: 32 KiB gave 200
    assert found.bandwidth_of(2**16) == 80e9
    assert found.bandwidth_of(2**40) == 10e9


@pytest.mark.parametrize(
    ("flop", "loads", "expected"),
    [
        (0.25, [Load(1.0, 2**12)], Bound(50e9, "L1 loads")),
        (0.25, [Load(1.0, 2**18)], Bound(20e9, "L2 loads")),
        (0.25, [Load(1.0, 2**25)], Bound(2.5e9, "memory loads")),
        (8.0, [Load(1.0, 2**12)], Bound(100e9, "multiply-adds")),
        (9.0, [Load(8.0, 2**12), Load(1.0, 2**25)], Bound(9e10 / 1.4, "memory loads")),
    ],
)
def test_the_least_limit_binds(flop, loads, expected):
    found = made_limits().bound("float64", flop, loads)
    assert found.name == expected.name
    assert found.flops == pytest.approx(expected.flops)


@pytest.mark.jit_off
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sweep_reads_every_element(dtype):
    lanes = BYTES // np.dtype(dtype).itemsize
    x = aligned_zeros(64 * lanes, dtype)
    x[:] = np.arange(x.size) % 5
    totals = aligned_zeros((bandwidth.CHAINS + 1) * lanes, dtype)
    totals[-lanes:] = 0.5
    bandwidth._sweep_passes(x, 3, totals)
    assert totals[:-lanes].sum() >= 3 * 0.5 * x.sum()  # the twin adds the sum in each lane
    assert (totals[-lanes:] == 0.5).all()


def test_a_sweep_adds_up():
    x = aligned_zeros(512, "float64")
    x[:] = np.arange(512.0)
    totals = aligned_zeros(9 * 8, "float64")
    totals[-8:] = 0.5
    bandwidth._sweep_passes(x, 2, totals)
    assert totals[:-8].sum() == x.sum()
    totals[:-8] = 0
    bandwidth._spin_passes(x, 2, totals)
    assert totals[:-8].sum() == 64 * x[:8].sum()  # the first vector, 64 times


# --- statistics -------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.95, 0.975])
def test_intervals_hold_the_median_of_skewed_timings(level):
    """Timings have a floor and a tail; a slow machine slows whole rounds."""
    rng = np.random.default_rng(1)
    n, held, paired = 2000, 0, 0
    for _ in range(n):
        times = 1 + rng.exponential(0.1, suite.ROUNDS)
        found = timing.median(times, level)
        held += found.low <= 1 + 0.1 * np.log(2) <= found.high
        state = 1 + rng.exponential(0.5, suite.ROUNDS)
        below = state * (1 + 0.01 * rng.standard_normal(suite.ROUNDS))
        above = 3 * state * (1 + 0.01 * rng.standard_normal(suite.ROUNDS))
        ratio = timing.ratio(above, below, level)
        paired += ratio.low <= 3 <= ratio.high
        assert ratio.high - ratio.low < 0.5  # the state of the machine cancels
    error = 3 * (level * (1 - level) / n) ** 0.5
    assert held / n >= level - error
    assert paired / n >= level - error


def test_too_few_rounds_have_no_interval():
    assert np.isnan(timing.median([1.0] * 5).low)
    assert not np.isnan(timing.median([1.0] * suite.ROUNDS, level=0.975).low)


@pytest.fixture
def clock(monkeypatch):
    """Make calls take what they return, and waiting nothing."""
    monkeypatch.setattr(timing, "seconds", lambda work, number=1: work())
    monkeypatch.setattr(timing, "settle", lambda: None)


@pytest.mark.usefixtures("clock")
def test_every_round_times_each_once_in_changing_order():
    calls = []

    def work(name):
        def call():
            calls.append(name)
            return 1.0

        return call

    names = ["ours", "a", "b"]
    found = timing.interleaved({name: work(name) for name in names}, 20, always=("ours",))
    assert found == {name: [1.0] * 20 for name in names}
    rounds = [tuple(calls[i : i + 3]) for i in range(6, len(calls), 3)]  # after two to warm up
    assert {frozenset(turn) for turn in rounds} == {frozenset(names)}
    assert len(set(rounds)) > 3


@pytest.mark.usefixtures("clock")
def test_a_rival_more_than_twice_as_slow_is_timed_once():
    work = {"ours": lambda: 30.0, "near": lambda: 1.0, "close": lambda: 1.9, "slow": lambda: 2.1}
    found = timing.interleaved(work, 4, always=("ours",))
    assert {name: len(times) for name, times in found.items()} == {
        "ours": 4, "near": 4, "close": 4, "slow": 1,
    }  # fmt: skip


# --- records and comparison -------------------------------------------------------------------


def test_a_row_pairs_its_ratio_with_the_fastest_peer():
    row = made_run().rows[0]
    assert row.fastest == "numpy"
    assert row.ratio.low < 4 < row.ratio.high
    assert row.flops == pytest.approx(1e10, rel=0.02)
    assert row.fraction == pytest.approx(0.5, rel=0.02)


def test_a_run_survives_its_file(tmp_path):
    run = made_run()
    run.save(tmp_path / "run.json")
    assert record.load(tmp_path / "run.json") == run


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "cannot be read"),
        ("[]", "found format None"),
        ('{"format": 99}', "found format 99"),
        ('{"format": 1}', "damaged"),
        ('{"format": 1, "rows": [{"operation": 3}]}', "damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, said):
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoreError, match=said):
        record.load(path)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.7, "faster"),
        (1.0, "no change beyond noise"),
        (1.03, "no change beyond noise"),
        (1.4, "slower"),
    ],
)
def test_verdicts_on_a_stored_run(factor, verdict):
    changes = compare.against_stored(made_run(factor, seed=1), made_run(1.0), "old.json")
    assert [change.verdict for change in changes] == [verdict] * 2
    for change in changes:
        assert change.time.low < factor < change.time.high


def test_the_state_of_the_machine_is_divided_out():
    """All of a run is twice as slow, its reference too."""
    old, new = made_run(), made_run(seed=1)
    rows = [
        dataclasses.replace(row, seconds={k: [2 * t for t in v] for k, v in row.seconds.items()})
        for row in new.rows
    ]
    changes = compare.against_stored(dataclasses.replace(new, rows=rows), old, "old.json")
    assert {change.verdict for change in changes} == {"no change beyond noise"}


@pytest.mark.parametrize(
    ("key", "value"), [("cpu", "another"), ("cores", 1000), ("threads", 1000), ("caches", {})]
)
def test_another_machine_is_refused_by_name(key, value):
    old = made_run()
    old = dataclasses.replace(old, machine={**old.machine, key: value})
    with pytest.raises(StoreError, match=f"{key}: {value}"):
        compare.against_stored(made_run(), old, "old.json")


def test_runs_without_a_common_benchmark_are_refused():
    with pytest.raises(StoreError, match="no benchmark in common"):
        compare.against_stored(made_run(sizes=(7,)), made_run(), "old.json")


def test_the_summary_names_the_worst():
    def change(verdict):
        return compare.Change("x", Interval(1, 1, 1), verdict)

    same, faster, slower = map(change, ("no change beyond noise", "faster", "slower"))
    assert compare.summary([same]) == "no change beyond noise in 1 benchmarks"
    assert compare.summary([same, faster]) == "faster: 1 of 2 benchmarks, and none slower"
    assert compare.summary([slower, faster]) == "slower: 1 of 2 benchmarks (1 faster)"


# --- targets, text and page ---------------------------------------------------------------------


def test_targets_are_judged_on_the_numbers():
    def verdicts(run):
        return {o.target: o.verdict for o in targets.outcomes(run)}

    name = "gradient_profile, N = 16 to 128, 1,000 draws, float64: geometric mean ≥ 8, none below 6"
    assert verdicts(made_run(peer=9.0))[name] == "met"
    assert verdicts(made_run(peer=7.0))[name] == "not met"
    assert verdicts(made_run(sizes=(100,)))[name] == "not measured"
    extra = {
        "study": {"kernels": 0.79},
        "draws": [{"peak_bytes": 100}, {"peak_bytes": 109}, {"peak_bytes": 115}],
        "starts": {"import": [0.5], "atlas": {"cold": 26.0, "warm": [1.0, 9.0, 1.5]}},
    }
    found = verdicts(dataclasses.replace(made_run(), extra=extra))
    assert found["a whole study: ≥ 80 % of its threads' time within kernels"] == "not met"
    assert found["peak memory of one worker as draws grow tenfold: within 10 %"] == "met"
    assert found["all that the atlas compiles, cold: ≤ 25 s"] == "not met"
    assert found["the same, warm: ≤ 2 s"] == "met"
    assert found["import vgcore: ≤ 1 s"] == "met"


def test_it_says_where_vgcore_does_not_win():
    said = "\n".join(text.report(made_run(peer=0.5)))
    assert "does not win in 2 of 2" in said
    assert "times as fast as numpy" in said
    assert "not installed or broken, so not timed: jax_map" in said
    assert "fastest in all 2" in "\n".join(text.report(made_run(peer=2.0)))
    assert len(targets.losses(made_run(peer=1.0))) == 2  # as fast is no win


def full_extra():
    case = Case(64, 10, 5)._asdict()
    return {
        "threads": [{"operation": "p", "case": case, "seconds": {"1": [2.0] * 7, "2": [1.0] * 7}}],
        "draws": [{"draws": n, "seconds": n / 1e3, "peak_bytes": 10**8} for n in (100, 1000)],
        "starts": {
            "import": [0.1],
            "profile": {"cold": 9.0, "warm": [1.0]},
            "atlas": {"cold": 20.0, "warm": [1.5]},
        },
        "study": {
            "draws": 4, "seconds": 5.0, "workers": 2, "kernels": 0.85,
            "spent": {"gradient_profile": 8.5, "waiting for work": 1.5},
        },
    }  # fmt: skip


def test_a_page_holds_every_number_and_needs_no_other_file(tmp_path):
    run = dataclasses.replace(made_run(), extra=full_extra())
    page = write_page(run, tmp_path).read_text()
    markdown = (tmp_path / "report.md").read_text()
    for content in (page, markdown):
        assert text.brackets(run.rows[0].ratio) in content
        assert "85 %" in content
        for outcome in targets.outcomes(run):
            assert outcome.measured.split(" (")[0] in content
        assert "{{" not in content
    assert 'src="http' not in page
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {"time", "ratio", "roofline", "scaling", "study"}
    assert all(f"figures/{name}.png" in markdown for name in drawn)
    assert record.load(tmp_path / "run.json") == run
    assert len((tmp_path / "benchmarks.csv").read_text().splitlines()) == 1 + 2 * 3


def test_a_page_without_scaling_or_peers_is_written(tmp_path):
    run = made_run()
    alone = [
        Row("truncation", Case(8, 2, 3), {OURS: [1.0] * 7, REFERENCE: [1.0] * 7}),
    ]
    write_page(dataclasses.replace(run, rows=alone, size="minute"), tmp_path)
    assert "no peer was timed" in (tmp_path / "report.md").read_text()


def test_the_line_at_one_is_drawn():
    figure = figures.ratio_figure(figures.panels(made_run()))
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in figure.axes[0].lines)


def test_work_units_count_trajectories():
    assert figures.work_units(Row("p", Case(8, 2, 3, 5), {OURS: [1.0]})) == 30


# --- processes --------------------------------------------------------------------------------


def test_stages_are_names_in_the_study():
    from vgcore import remedies
    from vgcore.study import measure, worker

    assert all(callable(getattr(measure, name)) for name in child.STAGES)
    assert all(callable(getattr(remedies, name)) for name in child.REMEDIES)
    assert all(callable(getattr(worker, name)) for name in ("encode", "write_files", "_measured"))
    assert set(child.KERNELS) <= set(child.STAGES)


def vgcore(*arguments, cwd, code=0):
    """Run the command; the exit code must be `code`, and nobody sees a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "vgcore", "bench", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, timeout=600,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


TINY = ("--size", "smoke", "--only", "spectral_radius")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    printed = vgcore(*TINY, "--out", "old.json", "--report", "page", cwd=folder)
    return folder, printed


def test_the_command_prints_ratios_and_limits_and_keeps_the_run(stored):
    folder, printed = stored
    assert "spectral_radius N=19, 3 draws" in printed
    assert "GFLOP/s" in printed
    assert "win" in printed or "fastest in all" in printed
    assert (folder / "page" / "report.html").exists()
    assert {row.operation for row in record.load(folder / "old.json").rows} == {"spectral_radius"}


def test_the_command_compares_with_a_stored_run(stored):
    folder, _ = stored
    arguments = (*TINY, "--compare", "old.json", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "vgcore", "bench", *arguments],
        capture_output=True, text=True, cwd=folder, timeout=600,
    )  # fmt: skip
    assert done.returncode in (0, 1)  # timings of microseconds may differ by anything
    found = json.loads(done.stdout)
    assert len(found["changes"]) == 2
    slower = any(change["verdict"] == "slower" for change in found["changes"])
    assert done.returncode == int(slower)


def test_the_command_refuses_another_machine_before_timing(stored):
    folder, _ = stored
    old = json.loads((folder / "old.json").read_text())
    old["machine"]["cpu"] = "another processor"
    (folder / "other.json").write_text(json.dumps(old))
    (folder / "broken.json").write_text("{")
    said = vgcore(*TINY, "--compare", "other.json", cwd=folder, code=1)
    assert "cpu: another processor there" in said
    assert "cannot be read" in vgcore(*TINY, "--compare", "broken.json", cwd=folder, code=1)


def test_usage_errors_name_the_option(tmp_path):
    assert "did you mean" in vgcore("--only", "spectral_radios", cwd=tmp_path, code=2)
    assert "size" in vgcore("--size", "huge", cwd=tmp_path, code=2)
    assert "--out" in vgcore("--against", ".", "--out", "x.json", cwd=tmp_path, code=2)
    assert "holds no vgcore" in vgcore("--against", ".", cwd=tmp_path, code=1)


def test_two_checkouts_are_timed_in_turns(tmp_path):
    """The other has no benchmarks of its own; ours are taken. What it cannot run is left out."""
    other = tmp_path / "other" / "vgcore"
    other.mkdir(parents=True)
    root = child.Path(child.__file__).parents[1]
    for name in ("errors", "checks", "streams", "_typing", "environment", "_version", "tables"):
        shutil.copy(root / f"{name}.py", other)
    shutil.copytree(root / "stats", other / "stats")
    (other / "__init__.py").write_text(
        textwrap.dedent(
            """
            import time
            import numpy as np
            class RNN: pass
            def draw_weights(init, n_draws, n_hidden, rng):
                if n_hidden == 19:
                    raise NotImplementedError("no 19 units here")
                return np.zeros((n_draws, n_hidden, n_hidden))
            def spectral_radius(W, n_threads=None):
                time.sleep(0.1)
            """
        )
    )
    printed = subprocess.run(
        [sys.executable, "-m", "vgcore", "bench", *TINY, "--against", tmp_path / "other"],
        capture_output=True, text=True, timeout=600, env={**os.environ},
    )  # fmt: skip
    assert printed.returncode == 0, printed.stderr
    assert "faster: 1 of 1 benchmarks" in printed.stdout
    assert "not compared: spectral_radius N=19, 3 draws, float64: NotImplementedError" in (
        printed.stderr
    )


def test_peers_that_are_missing_are_listed(monkeypatch):
    assert not_installed() == sorted(not_installed())
    monkeypatch.setitem(sys.modules, "torch", None)  # as for a library that cannot be loaded
    assert "torch" in not_installed()
    assert "torch" not in find("gradient_profile").implementations()
    assert find("gradient_profile").implementations()[:2] == [OURS, "numpy"]


def test_kernels_chosen_for_openblas_by_hand_are_told(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert blas_warning(software()) is None
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE=Haswell is set" in (blas_warning(software()) or "")


@hypothesis.given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), st.floats(0.1, 20.0))
def test_numbers_beside_points_keep_apart_in_order(heights, gap):
    heights = np.array(heights)
    moved = figures.apart(heights, gap)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(moved[order]) >= gap * (1 - 1e-9) - 1e-9).all()
    assert moved.mean() == pytest.approx(heights.mean(), abs=1e-9)
    wide = np.arange(9.0) * 3
    np.testing.assert_allclose(figures.apart(wide, 2.0), wide)


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, ["one", "two"]), (3600.0, [])])
def test_a_log_gets_a_line_now_and_then(seconds, lines, monkeypatch, capsys):
    monkeypatch.setattr("vgcore.study.progress.LINE_SECONDS", seconds)
    note = cli._notes()
    note("one")
    note("two")
    assert capsys.readouterr().err.splitlines() == lines


def test_a_size_that_fills_no_vector_is_held_against_one_that_does():
    run = made_run(sizes=(63, 64))
    assert targets._cliff(run)[1]
    slow = dataclasses.replace(run.rows[0], seconds={OURS: [1.5] * 7})
    text, met = targets._cliff(dataclasses.replace(run, rows=[slow, run.rows[1]]))
    assert not met
    assert "1.5" in text
    assert targets._cliff(made_run(sizes=(16,))) is None


def test_another_machines_file_is_refused_before_anything_is_timed(tmp_path):
    old = made_run()
    old = dataclasses.replace(old, machine={**old.machine, "cpu": "another one"})
    old.save(tmp_path / "old.json")
    printed = subprocess.run(
        [sys.executable, "-m", "vgcore", "bench", "--compare", tmp_path / "old.json"],
        capture_output=True, text=True, timeout=600, env={**os.environ},
    )  # fmt: skip
    assert printed.returncode == 1
    assert "measured on another machine" in printed.stderr
    assert not printed.stdout
