"""The self-test: right code passes at any seed, and wrong code is caught by name.

Wrong code is a copy of the package with one edit, run with the compiler off (the plain-Python twins
say what is computed) in a process of its own. A check that never fails would show here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from vgcore import selftest
from vgcore.activations import ACTIVATIONS
from vgcore.initializers import INITIALIZERS
from vgcore.selftest.table import Check, Finding, alarm_limit, identity, law, share

PACKAGE = Path(selftest.__file__).parents[1]

MUTANTS = {
    "transposed W": (
        "kernels/layout.py", "if printed:", "if not printed:", "RNN of 36",
    ),
    "transposed W, remedies": (
        "kernels/unrolled.py", "_copy(network.W_rec[draw, i], unrolled.W_rec[i])",
        "_copy(network.W_rec[draw, :, i], unrolled.W_rec[i])", "truncation: full",
    ),
    "transposed W, tangent": (
        "kernels/tangent.py", "_pack_transpose(network.W_rec[draw], motion.forward)",
        "_pack_transpose(network.W_rec[draw].T, motion.forward)", "RNN: exponents",
    ),
    "no derivative": (
        "kernels/rnn.py", "delta[i] = slope[i] * product[i]", "delta[i] = product[i]", "RNN of 36",
    ),
    "no derivative, product": (
        "kernels/jacobian.py", "row[c] = slope[i] * source[c]", "row[c] = source[c]", "RNN: dx_T",
    ),
    "no derivative, tangent": (
        "kernels/tangent.py", "= source[r, c] * slope[c]", "= source[r, c]", "RNN: exponents",
    ),
    "no derivative, remedies": (
        "kernels/unrolled.py", "slope[j] * product[j] + past", "product[j] + past",
        "truncation: full",
    ),
    "slope of the logistic": (
        "activations.py", "one - w, _fma(-w, w, w)", "one - w, w", "sigmoid: value",
    ),
    "derivative a step late": (
        "kernels/rnn.py", "slope = nets.slopes[n_steps - lag]", "slope = nets.slopes[n_steps - 1]",
        "RNN of 36",
    ),
    "transposed W, lanes": (
        "kernels/layout.py", "_pack_lanes(W, True,", "_pack_lanes(W, False,", "RNN: gradient norm",
    ),
    "scale forgotten": (
        "kernels/rnn.py", "norms[j] = 0.5 * norms[j] + LN2 * norm_exponents[j]",
        "norms[j] = 0.5 * norms[j]", "60 factors",
    ),
    "input at a scale of its own": (
        "kernels/rnn.py", "driven = bool(_max_abs(layout.drive) != 0.0)", "driven = False",
        "driven",
    ),
    "Jacobian of the LSTM without its output gate": (
        "kernels/lstm.py", "h_of_c * c + to_o * W[3 * n + r, i]", "h_of_c * c", "LSTM: dx_T",
    ),
    "clipping does not shrink": (
        "kernels/clipping.py", "out[1], out[3] = log_threshold, 1.0",
        "out[1], out[3] = log_norm, 1.0", "clipping by norm",
    ),
    "truncation one lag short": (
        "kernels/truncation.py", "if lag + 1 == truncations[i]", "if lag == truncations[i] - 2",
        "truncation: geometric",
    ),
    "Omega without a slope": (
        "kernels/penalties.py", "factor * slope[j] * (y[j] / y_norm)", "factor * (y[j] / y_norm)",
        "Omega",
    ),
    "orthogonality of rows by columns": (
        "kernels/penalties.py", "gram[i, i] -= 1.0", "gram[i, i] -= 0.0", "orthogonality",
    ),
    "Kaiming gain": (
        "initializers.py", "@_law(gain=2.0**0.5)\ndef _kaiming_uniform",
        "@_law()\ndef _kaiming_uniform", "kaiming_uniform: mean",
    ),
    "uniform of variance 1 / 3": (
        "initializers.py", "(12.0 / n) ** 0.5", "(4.0 / n) ** 0.5", "uniform: mean",
    ),
    "half a degree of freedom in the rate": (
        "profile.py", "lags = np.arange(length + 1) - length / 2",
        "lags = np.arange(length + 1) - (length + 1) / 2", "estimator rate",
    ),
    "horizon a lag late": (
        "profile.py", "passed.argmax(axis=-1))", "passed.argmax(axis=-1) + 1)", "horizon",
    ),
    "growing share of first lags": (
        "profile.py", "self.rate().value.mean(axis=1) > 0.0",
        "self.log_norm[:, :, 1].mean(axis=1) > 0.0", "growing",
    ),
    "normal numbers that repeat": (
        "kernels/normals.py", "place + np.uint64(j)", "place + np.uint64(j // 2)",
        "normal numbers",
    ),
    "LSTM with gates i and f swapped": (
        "kernels/lstm.py", "i, f, _, g = gates", "f, i, _, g = gates", "cell LSTM",
    ),
    "LSTM unrolled with gates f and g swapped": (
        "cell_steps.py", "enumerate((to_i, to_f, to_g))", "enumerate((to_i, to_g, to_f))",
        "LSTM: dE/dW_hh truncated",
    ),
    "GRU that carries back by 1 - z": (
        "kernels/gru.py", "delta[0] = h * z", "delta[0] = h * (1.0 - z)", "cell GRU",
    ),
    "leaky unit without its share": (
        "kernels/leaky.py", "kept[i] = leak * slope[i]", "kept[i] = slope[i]", "cell LeakyRNN",
    ),
    "a radius off by a thousandth": (
        "spectrum.py", "return radius", "return 1.001 * radius", "spectral radius",
    ),
    "inputs of the first trajectory for all": (
        "kernels/layout.py", "            min(trajectory + r % K, inputs.shape[1] - 1),",
        "            0,", "RNN of 36 units: trajectories",
    ),
    "slope below zero lost at small scale": (
        "kernels/scales.py", "slope[j] = slopes[1] if x[j] > 0.0 else slopes[0]",
        "slope[j] = slopes[1]", "leaky_relu RNN of 3 units, 60 factors 1e-09",
    ),
    "half a slope where tanh is straight": (
        "kernels/gates.py", "value[j], slope[j] = x[j], 1.0", "value[j], slope[j] = x[j], 0.5",
        "LSTM: from a state",
    ),
    "transposed W, layers": (
        "kernels/deep.py", "out[i, r] = slope[i] * W[r, i]", "out[r, i] = slope[i] * W[r, i]",
        "DeepNet: Jacobian",
    ),
    "chrono biases that open the input gate": (
        "gated.py", 'cls.gate("i", bias)[:] = -cls.gate("f", bias)',
        'cls.gate("i", bias)[:] = cls.gate("f", bias)', "LSTM: forget bias",
    ),
    "tangent burn-in that counts": (
        "lyapunov.py", "if place <= 1:", "if place < 1:", "diagonal cells",
    ),
    "scale of a product lost": (
        "kernels/dense.py", "exponent += _rescale(scratch)", "_rescale(scratch)", "underflowing",
    ),
    "normal quantile for the one of Student": (
        "profile.py", "special.stdtrit(n_batches - 1, 0.5 + level / 2)",
        "special.ndtri(0.5 + level / 2)", "95 % interval",
    ),
    "smallest truncation that does not last": (
        "remedies/truncation.py", "self.truncations[kept_from.argmax",
        "self.truncations[kept.argmax", "smallest k",
    ),
    "steps gained by no clipping": (
        "kernels/clipping.py", "out[6] = _fall(series[1], log_eps)",
        "out[6] = _fall(series[0], log_eps)", "steps gained",
    ),
    "Omega at the slopes of one step": (
        "kernels/penalties.py", "deltas[t], unrolled.slopes[t]", "deltas[t], unrolled.slopes[0]",
        "Omega: value",
    ),
    "half the derivative of orthogonality": (
        "kernels/penalties.py", "row[j] *= 4.0", "row[j] *= 2.0", "orthogonality and L2",
    ),
    "memory of a delay beside": (
        "remedies/echo_state.py", "(u, T)[washout::-1]", "(u, T)[washout - 1 :: -1]",
        "remembers 5",
    ),
    "one past in the place of two": (
        "remedies/echo_state.py", "for start in (state, -state)", "for start in (state, state)",
        "single units",
    ),
    "sparse in the first columns": (
        "initializers.py",
        "columns = np.argpartition(draws.uniform(n, n), nonzeros - 1, axis=2)[..., :nonzeros]",
        "columns = np.tile(np.arange(nonzeros), (draws.n_draws, n, 1))", "sparse: columns",
    ),
}  # fmt: skip


def mutated(tmp_path, file, old, new):
    """Copy the package with one edit; the text must be there just once, or every time alike."""
    shutil.copytree(PACKAGE, tmp_path / "vgcore", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "vgcore" / file
    text = source.read_text()
    assert old in text, f"{file} has changed: {old!r} is gone"
    source.write_text(text.replace(old, new))
    return tmp_path


def selftest_in(folder, *arguments, jit=False):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    if jit:
        environment["NUMBA_CACHE_DIR"] = str(folder / "cache")
    else:
        environment["NUMBA_DISABLE_JIT"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "vgcore", "selftest", "--json", *arguments],
        capture_output=True, text=True, cwd=folder, env=environment, timeout=600,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_code_is_caught(tmp_path, name):
    file, old, new, only = MUTANTS[name]
    code, found = selftest_in(mutated(tmp_path, file, old, new), "--only", only)
    assert code == 1
    assert not found["passed"]
    assert found["failed"]


@pytest.mark.slow
def test_a_compiled_wrong_kernel_is_caught(tmp_path):
    file, old, new, only = MUTANTS["transposed W"]
    only += " units: gradient"  # one kernel to compile
    code, found = selftest_in(mutated(tmp_path, file, old, new), "--only", only, jit=True)
    assert code == 1
    assert "RNN of 36 units: gradient norm at every lag" in found["failed"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_right_code_passes_at_any_seed(seed):
    rows = selftest.run(seed)
    assert [(row.check, row.score, row.fault) for row in rows if not row.passed] == []
    assert len(rows) == len(selftest.CHECKS)


def test_every_activation_initializer_and_cell_is_covered():
    areas = {check.covers for check in selftest.CHECKS.values()}
    assert {f"init {name}" for name in INITIALIZERS} <= areas
    assert {f"{name}: value and slope, in ulp" for name in ACTIVATIONS} <= set(selftest.CHECKS)
    assert {f"cell {name}" for name in ("RNN", "LeakyRNN", "LSTM", "GRU", "DeepNet")} <= areas
    for estimator in (
        "rate", "horizon", "growing share", "spectral radius", "Lyapunov exponents",
        "Jacobian product", "truncation share", "clipping", "penalties", "echo states",
    ):  # fmt: skip
        assert f"estimator {estimator}" in areas


def test_laws_have_the_scores_of_a_standard_normal():
    rng = np.random.default_rng(1)
    means = [law(rng.standard_normal(12), 0.0).score for _ in range(2000)]
    assert stats.kstest(means, "norm").pvalue > 1e-3
    shares = [share(int(rng.binomial(4000, 0.3)), 4000, 0.3).score for _ in range(2000)]
    assert np.std(shares) == pytest.approx(1.0, abs=0.06)
    assert np.mean(np.abs(shares) > 1.96) == pytest.approx(0.05, abs=0.02)


def test_the_sign_of_a_score_is_that_of_the_difference():
    assert law([1.0, 2.0, 3.0], 0.0).score > 0 > law([1.0, 2.0, 3.0], 9.0).score
    assert share(9, 10, 0.5).score > 0 > share(1, 10, 0.5).score


def test_the_limit_holds_the_alarms_of_the_whole_table():
    assert 2 * 40 * stats.norm.sf(alarm_limit(40)) == pytest.approx(selftest.ALARM, rel=1e-6)


@pytest.mark.parametrize(
    ("finding", "passed"),
    [
        (identity([1.0, 2.0], [1.0, 2.0 + 1e-9], 1e-8), True),
        (identity([1.0, 2.0], [1.0, 2.1], 1e-8), False),
        (identity([1.0, np.nan], [1.0, 2.0], 1e-8), False),
        (identity([-np.inf], [-np.inf], 0.0), True),
        (identity([-np.inf], [0.0], 1e300), False),
        (law([2.0, 2.0, 2.0], 1.0), False),
    ],
)
def test_what_is_not_a_number_does_not_pass(finding, passed):
    row = selftest.run_check(Check("one", "test", finding.kind == "z", lambda rng: finding))
    assert row.passed is passed


def test_a_check_that_raises_fails_and_says_why():
    def broken(rng):
        raise ZeroDivisionError("no kernel")

    row = selftest.run_check(Check("one", "test", False, broken))
    assert not row.passed
    assert row.fault == "ZeroDivisionError: no kernel"


def test_a_check_does_not_depend_on_the_others():
    alone = selftest.run(seed=3, only="normal numbers: mean")
    together = selftest.run(seed=3, only="normal numbers")
    assert alone[0] in together
    assert selftest.run(seed=4, only="normal numbers: mean") != alone


def test_two_processes_give_the_rows_of_one_in_order():
    assert list(selftest.rows(2, "random", n_processes=2)) == selftest.run(2, "random")


def test_what_ends_an_area_in_a_process_fails_its_checks_and_no_others(monkeypatch):
    known = selftest.select("normal numbers: mean")
    lost = Check("not known to the process", "elsewhere", False, lambda rng: None)
    monkeypatch.setattr(selftest, "select", lambda only: [lost, *known])
    first, second = selftest.rows(n_processes=2)
    assert (first.passed, second.passed) == (False, True)
    assert "not known to the process" in first.fault


def test_an_unknown_area_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'estimator clipping'"):
        selftest.run(only="clippng")


def test_findings_of_an_identity_show_the_worst_place():
    found = identity([1.0, 5.0], [1.0, 4.0], 1e-3)
    assert found == Finding("error", 5.0, 5.0, 5.0, 4.0, 1.0, 1e-3)
