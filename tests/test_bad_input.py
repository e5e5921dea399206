"""What no function can use is refused by name; odd arrays of valid numbers change no bit."""

import numpy as np
import pytest
from test_peers import require

import vgcore as vg
from vgcore import checks, stats, theory
from vgcore.training import experiments

W = np.random.default_rng(0).standard_normal((3, 5, 5)) * 0.4


def profile(weights):
    return vg.gradient_profile(vg.RNN(weights), 6, rng=1).log_norm


class Tensor:
    """What a torch.Tensor with a gradient says to NumPy."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


class Sub(np.ndarray):
    pass


def misaligned(array):
    out = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


@pytest.mark.parametrize(
    "odd",
    [
        np.asfortranarray,
        lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
        lambda a: np.ascontiguousarray(a.swapaxes(0, 2)).swapaxes(0, 2),
        lambda a: np.repeat(a, 2, axis=2)[..., ::2],
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.view(Sub),
        lambda a: a.tolist(),
        lambda a: a.astype(np.longdouble),
        misaligned,
    ],
)
def test_how_an_array_lies_in_memory_changes_no_bit(odd):
    assert (profile(odd(W)) == profile(W)).all()


def test_single_precision_in_the_other_byte_order_stays_single():
    single = W.astype(np.float32)
    assert vg.RNN(single.astype(single.dtype.newbyteorder())).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        # no array, or none of finite real numbers
        (lambda: vg.RNN(Tensor()), TypeError, "W_rec: found Tensor.*requires grad"),
        (lambda: vg.RNN([[1.0], [1.0, 2.0]]), ValueError, "W_rec: not a rectangular"),
        (lambda: vg.RNN(W.astype(complex)), TypeError, "W_rec: found dtype complex128"),
        (lambda: vg.RNN(W * np.longdouble("1e400")), ValueError, "W_rec: found -?inf"),
        (lambda: theory.expected_spectral_radius(np.ma.masked_array([3])), TypeError, "masked"),
        (lambda: theory.expected_spectral_radius(np.uint64(2**63)), ValueError, "n_hidden: found"),
        (lambda: theory.truncation_share(-0.1, 5, "9"), TypeError, "n_steps: found dtype"),
        (lambda: vg.kaplan_yorke_dimension([[1.0], [1.0, 2.0]]), ValueError, "exponents: not"),
        (lambda: vg.lyapunov_history(vg.RNN(W), [[1], [1, 2]]), ValueError, "steps: not"),
        # what broadcasts nowhere
        (
            lambda: vg.gradient_profile(vg.RNN(W), 5).horizon(log_loss=np.zeros((2, 1))),
            ValueError,
            r"log_loss: found shape \(2, 1\)",
        ),
        # estimates
        (lambda: stats.median(range(9), level=95), ValueError, "level: found 95"),
        (lambda: stats.mean(range(9), level=-1), ValueError, "level: found -1"),
        (lambda: stats.hodges_lehmann(range(9), level=0), ValueError, "level: found 0"),
        (lambda: stats.holm([0.5, 1.5]), ValueError, "p_values: found shape"),
        (lambda: stats.holm(0.5), ValueError, "p_values: found shape"),
        (lambda: stats.wilson(5, 3), ValueError, "count: found 5"),
        (lambda: stats.kaplan_meier([1, np.nan], [False, True]), ValueError, "times: found 1 nan"),
        (lambda: stats.kaplan_meier([1, 2], [False]), ValueError, "times, censored: found shapes"),
        (lambda: stats.probability_of_improvement([1, 2], [1]), ValueError, "a, b: found shapes"),
        # options that are no flags
        (lambda: vg.DeepNet(W[:, None], residual="no"), TypeError, "residual: found 'no'"),
        (lambda: vg.training.digits(permuted=1), TypeError, "permuted: found 1"),
        (
            lambda: theory.correlation_fixed_point("tanh", 2.0, shared_input=None),
            TypeError,
            "shared_input: found None",
        ),
        (lambda: vg.remedies.penalties.omega(vg.RNN(W), 5, squared=2), TypeError, "squared: f"),
        # what is no cell
        (lambda: vg.remedies.penalties.l2(W), TypeError, "cell: found ndarray"),
        # an array in the place of a name
        (lambda: vg.RNN.draw(3, 5, init=np.ones(2)), ValueError, "init: "),
        # two trajectories that would begin at one state
        (
            lambda: vg.remedies.echo_state(vg.RNN(W), 20, initial_state=0.0),
            ValueError,
            "initial_state: found 0 for draw 0",
        ),
        # learning: pairs and numbers
        (lambda: learn(penalty="l2"), TypeError, "penalty: found 'l2', expected a pair"),
        (lambda: learn(clip=("norm", "1")), TypeError, "clip: found dtype"),
        (lambda: learn(clip=("norm", 1.0, 2)), TypeError, "clip: found .*, expected a pair"),
        (lambda: learn(learning_rate="0.1"), TypeError, "learning_rate: found dtype"),
        (lambda: learn(stop_solved="no"), TypeError, "stop_solved: found 'no'"),
        (lambda: learn(clip=True), TypeError, "clip: found True"),
        (lambda: learn(readout=[np.zeros(4)]), TypeError, r"readout: found list.*\(2, 1, 4\)"),
        (lambda: learn(optimiser=vg.training.adam), TypeError, r"call it, adam\(\)"),
        (lambda: vg.training.Optimiser("x", 7, 0.1), ValueError, "code: found 7.*sgd, rmsprop"),
        (lambda: vg.training.Optimiser("sgd", 0, np.nan), ValueError, "decay: found nan"),
        (lambda: learn(checkpoint=3), TypeError, "checkpoint: found 3, expected the path"),
        (lambda: learn(checkpoint="no/such/file"), ValueError, "in no folder that there is"),
        (lambda: learn(checkpoint="."), ValueError, "checkpoint: found the folder"),
        (lambda: vg.training.adding((5,)), ValueError, r"n_steps: found \(5,\), expected a length"),
        (lambda: examples(test=W), TypeError, "test: found ndarray, expected a pair"),
        (lambda: examples(np.full((6, 1), 9), n_outputs=3), ValueError, "n_outputs: .* least 10"),
        (lambda: examples(np.full((6, 1), -2)), ValueError, "targets: found -2, expected the"),
        (lambda: examples(np.full((6, 1), 1e300)), ValueError, r"targets: found 1e\+300"),
        (
            lambda: examples(np.full((6, 1, 1), 1e200), loss="squared"),
            ValueError,
            r"targets: found numbers as large as 1e\+200",
        ),
        (lambda: dependencies(lengths=[]), ValueError, "lengths: found none"),
        (lambda: dependencies(lengths=10), TypeError, r"lengths: found 10.*write \[10\]"),
        (lambda: dependencies(remedies="SGD"), TypeError, "remedies: found 'SGD'"),
        (lambda: dependencies(seed=None), TypeError, "seed: found None"),
        (lambda: dependencies(task="adding"), TypeError, "task: found 'adding'"),
        (lambda: experiments.success_rates(3), TypeError, "nets: found int, expected .*long_term"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()


def learn(**options):
    cell = vg.RNN.draw(2, 4, n_inputs=2, rng=1)
    usual = {"task": vg.training.adding(4), "n_updates": 1, "batch": 2, "n_test": 2, "rng": 1}
    return vg.training.train(cell, **(usual | options))


def examples(targets=((0,),) * 6, **options):
    return vg.training.examples(np.zeros((6, 4, 2)), targets, **options)


def dependencies(lengths=(10,), **options):
    return experiments.long_term_dependencies(lengths, n_nets=1, n_updates=1, **options)


@pytest.mark.parametrize("size", [10**7, 10**12, 2**63, 10**30])
@pytest.mark.parametrize(
    "call",
    [
        lambda n: vg.RNN.draw(n * 10**4, 64, rng=1),
        lambda n: vg.RNN.draw(2, n, rng=1),
        lambda n: vg.RNN.draw(2, 64, n_inputs=n * 10**4, rng=1),
        lambda n: vg.LSTM.draw(n * 10**4, 64, rng=1),
        lambda n: vg.remedies.truncation(vg.RNN.draw(1, 64, rng=1), n * 10**4, rng=1),
        lambda n: vg.remedies.clipping(vg.LSTM.draw(1, 64, rng=1), n * 10**4, 1.0, rng=1),
        lambda n: vg.DeepNet.draw(2, n * 10**4, 64, rng=1),
        lambda n: vg.gradient_profile(vg.RNN(W), n * 10**4),
        lambda n: vg.remedies.penalised_descent(vg.RNN(W), "l2", n * 10**4, 0.1),
        lambda n: vg.training.adding(n * 10**4).batch(9),
        lambda n: vg.training.adding(5).batch(n * 10**4),
        lambda n: vg.training.gradient(
            vg.RNN.draw(1, 4, n_inputs=2), vg.training.adding(n * 10**4)
        ),
        lambda n: learn(batch=n * 10**4, n_test=n * 10**4),
        lambda n: learn(n_updates=n * 10**4),
        lambda n: learn(task=examples(n_outputs=n * 10**4)),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_made(call, size, monkeypatch):
    monkeypatch.setattr(checks, "_memory", lambda: 2.0**40)
    with pytest.raises(ValueError, match=r"GiB of memory|expected at most"):
        call(size)


def test_a_large_gain_is_a_number_like_any_other():
    found = vg.draw_weights("gaussian", 1, 3, gain=10**30, rng=1)
    assert np.array_equal(found, vg.draw_weights("gaussian", 1, 3, gain=1e30, rng=1))


def test_a_tensor_with_a_gradient_is_refused_in_words():
    require("torch")
    import torch

    with pytest.raises(TypeError, match="W_rec: found Tensor, of which NumPy makes no array"):
        vg.RNN(torch.zeros((1, 3, 3), requires_grad=True))
