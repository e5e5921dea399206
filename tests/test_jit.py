"""Helpers are compiled as part of what calls them, and that part serves other processes too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

ROOT = Path(__file__).resolve().parents[1]
KERNELS = """
from vgcore.kernels.jit import helper, kernel

@helper()
def innermost(x):
    return x + 1.0

@helper()
def inner(x):
    return 2.0 * innermost(x)

@kernel()
def first(x):
    return inner(x)

@kernel()
def second(x):
    return inner(x) + innermost(x)
"""

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def printed(folder: Path, code: str) -> list[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", f"import some_kernels as k\n{code}"],
        env={**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_kernel_takes_in_helpers_from_the_cache(tmp_path):
    (tmp_path / "some_kernels.py").write_text(KERNELS)
    assert printed(tmp_path, "print(k.first(1.0))") == ["4.0"]
    taken = "print(k.second(1.0), *(len(h.stats.cache_hits) for h in (k.inner, k.innermost)))"
    assert printed(tmp_path, taken) == ["6.0", "1", "1"]
    assert printed(tmp_path, "print(k.first(1.0), k.second(1.0))") == ["4.0", "6.0"]


def test_no_machine_code_is_made_of_a_helper(tmp_path):
    (tmp_path / "some_kernels.py").write_text(KERNELS)
    functions = """
k.first(1.0)
for function in (k.first, k.innermost):
    code = function.overloads[function.signatures[0]].library
    print(len(list(code.get_defined_functions())))
"""
    of_kernel, of_helper = map(int, printed(tmp_path, functions))
    assert of_kernel > 0
    assert of_helper == 0


def test_an_edit_in_another_file_is_seen(tmp_path):
    """A kernel is compiled anew where a helper of a helper in another module has changed."""
    package = tmp_path / "some_kernels"
    package.mkdir()
    (package / "low.py").write_text(KERNELS.partition("@helper()\ndef inner(")[0])
    (package / "middle.py").write_text(
        """
from some_kernels.low import innermost
from vgcore.kernels.jit import helper

@helper()
def inner(x):
    return 2.0 * innermost(x)
"""
    )
    (package / "__init__.py").write_text(
        """
from some_kernels.middle import inner
from vgcore.kernels.jit import kernel

@kernel()
def first(x):
    return inner(x)
"""
    )
    called = "print(k.first(1.0), len(k.first.stats.cache_hits))"
    assert printed(tmp_path, called) == ["4.0", "0"]
    assert printed(tmp_path, called) == ["4.0", "1"]
    low = package / "low.py"
    low.write_text(low.read_text().replace("x + 1.0", "x + 10.0"))
    assert printed(tmp_path, called) == ["22.0", "0"]
