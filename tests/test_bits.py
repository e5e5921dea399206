"""The same bits on processors with and without AVX-512, for any threads and place in a batch."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from digests import DTYPES, RELAXED, network
from numba import njit
from numba.core.dispatcher import Dispatcher

import vgcore as vg
import vgcore.kernels

HERE = Path(__file__).parent
HASWELL = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+movbe,+f16c",
}


@pytest.fixture(scope="module")
def builds():
    """Digests and builds for an AVX2 processor and for this one, computed at the same time."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("names x86 processors")
    cache = os.environ["NUMBA_CACHE_DIR"]
    runs = {}
    for name, target in (("haswell", HASWELL), ("host", {})):
        folder = cache if name == "host" else f"{cache}-{name}"
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, **target, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": path}
        runs[name] = subprocess.Popen(
            [sys.executable, str(HERE / "digests.py")], env=environment, stdout=subprocess.PIPE
        )
    printed = {name: run.communicate()[0] for name, run in runs.items()}
    assert [run.returncode for run in runs.values()] == [0, 0]
    return {name: json.loads(text) for name, text in printed.items()}


@pytest.mark.slow
def test_a_processor_without_avx512_gives_the_same_bits(builds):
    haswell, host = builds["haswell"]["digests"], builds["host"]["digests"]
    assert haswell.keys() == host.keys()
    assert len(set(host.values())) > 100  # the digests tell the results apart
    assert [name for name in host if host[name] != haswell[name]] == []


@pytest.mark.slow
def test_the_builds_differ_in_vector_length_and_both_fuse(builds):
    haswell, host = builds["haswell"]["build"], builds["host"]["build"]
    assert haswell["fma"] == ["vfmadd", "vfnmadd"]
    assert haswell["calls_of_fma"] == 0
    assert not haswell["zmm"]
    assert haswell["relaxed"] == host["relaxed"] == []
    flags = Path("/proc/cpuinfo")
    if flags.exists() and "avx512f" in flags.read_text():
        assert host["zmm"]
        assert host["fma"] == haswell["fma"]


def test_relaxed_operations_would_be_found():
    @njit(fastmath=True)
    def total(x):
        found = x.dtype.type(0)
        for number in x:
            found += number
        return found

    for dtype in DTYPES:
        total(np.zeros(8, dtype))
        assert RELAXED.search(total.inspect_llvm(total.signatures[-1]))


def jitted():
    """Every jitted function of the kernels, by its full name."""
    modules = [
        importlib.import_module(f"vgcore.kernels.{module.name}")
        for module in pkgutil.iter_modules(vgcore.kernels.__path__)
    ]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }


def test_no_jitted_function_has_fastmath():
    assert len(jitted()) > 30
    assert not [name for name, f in jitted().items() if f.targetoptions.get("fastmath")]


def relaxations(source):
    """Lines of a source that ask for fast arithmetic: fastmath of Numba, flags of llvmlite."""
    return [
        node.value.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg in ("fastmath", "flags")
    ]


def test_no_source_asks_for_fast_arithmetic():
    package = Path(vg.__file__).parent
    found = {path.name: relaxations(path.read_text()) for path in package.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert relaxations("f = njit(fastmath=False)\ny = builder.fadd(x, x, flags=['fast'])") == [1, 2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 16, 33, 64])
@pytest.mark.parametrize("n_trajectories", [1, 16])
def test_a_profile_depends_on_neither_threads_nor_place(n, n_trajectories, dtype):
    one, *others = (vg.RNN.draw(n_draws, n, gain=2.5, dtype=dtype, rng=n) for n_draws in (19, 40))
    rng = np.random.default_rng(1)
    shape = (19, n_trajectories, n)
    state, loss = rng.standard_normal(shape), rng.standard_normal(shape)

    def run(cell, chosen, n_threads=1):
        found = vg.gradient_profile(
            cell,
            2000 if n < 33 else 500,
            n_trajectories=n_trajectories,
            initial_state=state[chosen],
            loss_gradient=loss[chosen],
            n_threads=n_threads,
        )
        return np.stack([found.log_norm, found.log_contribution], axis=1)

    whole = run(one, slice(None))
    assert (whole == run(one, slice(None), 2)).all()
    assert (others[0].W_rec[:19] == one.W_rec).all()
    for chosen in ([0], [18], [7, 3], [18, 17, 16, 0, 5]):
        assert (run(vg.RNN(one.W_rec[chosen]), chosen) == whole[chosen]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponents_products_and_radii_depend_on_neither_threads_nor_place(dtype):
    cell = network(33, dtype, "tanh", 2.5)

    def run(cell, state, n_threads=1):
        options = {"initial_state": state, "rng": 1, "n_threads": n_threads}
        scale, P = vg.jacobian_product(cell, 100, **options)
        return (
            scale,
            P,
            vg.lyapunov_exponents(cell, 50, **options),
            vg.spectral_radius(cell.W_rec, n_threads=n_threads),
        )

    state = np.random.default_rng(1).standard_normal((3, 33))
    whole = run(cell, state)
    for found, expected in zip(run(cell, state, 2), whole, strict=True):
        assert (found == expected).all()
    first = run(vg.RNN(cell.W_rec[:1]), state[:1])
    for found, expected in zip(first, whole, strict=True):
        assert (found == expected[:1]).all()
    moved = run(vg.RNN(cell.W_rec[[2, 0]]), state[[2, 0]])
    for name in (0, 1, 3):  # the tangent frame of exponents is drawn by place
        assert (moved[name] == whole[name][[2, 0]]).all()


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", "sparse", "antisymmetric"])
def test_drawn_weights_depend_on_neither_threads_nor_the_number_of_draws(init):
    whole = vg.draw_weights(init, 9, 20, spectral_radius=0.9, rng=3, n_threads=1)
    assert (whole == vg.draw_weights(init, 9, 20, spectral_radius=0.9, rng=3, n_threads=2)).all()
    assert (whole[:2] == vg.draw_weights(init, 2, 20, spectral_radius=0.9, rng=3)).all()
