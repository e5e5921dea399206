"""Data flows one way: no module imports another that stands below it in this list."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import numba
import pytest
from numba.extending import is_jitted

PACKAGE = Path(__file__).resolve().parents[1] / "vgcore"

# Modules on one line do not import each other. Kernels are leaves: they see arrays and codes only.
LAYERS = [
    ["_version", "_typing", "errors", "checks", "streams", "kernels.jit", "kernels.caches"],
    ["tables"],
    ["environment", "kernels.elementary", "kernels.vectors", "kernels.orthogonal"],
    [
        "parallel",
        "activations",
        "kernels.radius",
        "kernels.tiles",
        "kernels.normals",
        "warm",
    ],
    ["kernels.tasks", "kernels.interleaved"],
    ["draws", "spectrum", "kernels.activate", "kernels.triangular", "kernels.columns"],
    ["theory.quadrature", "kernels.scales", "kernels.bandwidth"],
    ["kernels.layout"],
    ["theory.mean_field"],
    ["theory.correlation", "theory.spectrum", "theory.random_matrices"],
    ["theory.ginibre", "theory.memory"],
    ["theory"],
    ["initializers", "kernels.tangent", "kernels.rnn"],
    ["cells", "kernels.lyapunov", "kernels.jacobian", "kernels.unrolled", "kernels.gates"],
    ["gated", "deep", "kernels.lstm", "kernels.gru", "kernels.leaky", "kernels.deep"],
    ["cell_kernels", "kernels.dense", "kernels.reservoir"],
    ["cell_steps"],
    ["trajectory"],
    ["profile", "kernels.truncation", "kernels.clipping", "kernels.penalties"],
    ["lyapunov", "jacobian", "remedies.unrolling", "remedies.penalties"],
    ["remedies.truncation", "remedies.clipping"],
    ["remedies.echo_state"],
    ["remedies"],
    ["kernels.training"],
    ["kernels.train_dense", "kernels.train_lstm", "kernels.train_gru", "kernels.train_deep"],
    ["kernels.train_lanes"],
    ["training.optimisers", "training.tasks", "training.parameters"],
    ["training.run"],
    ["training"],
    ["training.experiments"],
    ["selftest.table"],
    ["selftest.functions", "selftest.initializers"],
    ["selftest.cells", "selftest.estimators"],
    ["selftest"],
    ["stats.estimates", "stats.slices"],
    [
        "stats.survival",
        "stats.paired",
        "stats.two_samples",
        "stats.critical",
        "stats.bands",
        "stats.averages",
        "stats.components",
        "stats.precision",
        "stats.regression",
    ],
    ["stats.summary", "stats.comparisons"],
    ["stats"],
    ["study.choices", "study.files"],
    ["study.cells"],
    ["study.remedies"],
    ["study.config"],
    ["study.plan"],
    ["study.measure"],
    ["study.sequential"],
    ["study.store"],
    ["study.worker", "study.progress", "study.verify"],
    ["study.processes"],
    ["study.cluster"],
    ["study.engines"],
    ["study"],
    ["figures"],
    ["report.words"],
    ["report.part", "report.methods", "report.predictions"],
    ["report.text", "report.captions"],
    ["report.tables"],
    ["report.league", "report.calibration", "report.detail"],
    ["report.verdict", "report.cite"],
    ["report"],
    ["papers.table"],
    ["papers.claims", "papers.coverage"],
    ["papers.page"],
    ["papers"],
    ["impacts.table"],
    ["impacts.pieces"],
    ["impacts.memory", "impacts.remedies", "impacts.depth", "impacts.landscape"],
    ["impacts.generalisation"],
    ["impacts.page"],
    ["impacts"],
    ["demo"],
    ["replay", "compare"],
    ["bench"],
    ["bench.timing", "bench.peers"],
    ["bench.operations"],
    ["bench.limits"],
    ["bench.machine", "bench.record", "bench.child"],
    ["bench.compare"],
    ["bench.processes", "bench.targets"],
    ["bench.suite", "bench.text"],
    ["bench.figures"],
    ["bench.page"],
    ["cli"],
    ["__main__"],
]
RANK = {module: rank for rank, modules in enumerate(LAYERS) for module in modules}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below vgcore."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of vgcore that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = modules()
    below = {name.removeprefix("vgcore.") for name in names if name.startswith("vgcore.")}
    return {name for name in below if name in known and name != "kernels"}


def test_the_list_names_every_module_and_no_other():
    assert set(RANK) == set(modules()) - {"", "kernels"}


@pytest.mark.parametrize("module", sorted(RANK))
def test_imports_point_up_the_list(module):
    others = imports(modules()[module]) - {module}
    below = {other for other in others if RANK[other] >= RANK[module]}
    assert not below, f"{module} imports {below}"


def test_the_order_catches_a_wrong_import(tmp_path):
    wrong = tmp_path / "streams.py"
    wrong.write_text("def f():\n    from vgcore import cells\n    import vgcore.study.plan\n")
    assert imports(wrong) == {"cells", "study.plan"}
    assert min(RANK[name] for name in imports(wrong)) > RANK["streams"]


def uses_numba(source: str) -> bool:
    """Whether a module imports anything of Numba, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        if any(name.split(".")[0] in ("numba", "llvmlite") for name in names):
            return True
    return False


def test_only_kernels_are_jitted():
    jitted = {name for name, path in modules().items() if uses_numba(path.read_text())}
    jitted.remove("warm")  # hears of what is compiled, and compiles nothing
    assert jitted
    assert all(name.split(".")[0] == "kernels" for name in jitted)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_python_calls_no_helper():
    """Nothing takes its arguments from Python: the process would end."""

    def helpers(name):
        module = importlib.import_module(f"vgcore.{name}")
        found = vars(module).items()
        return {key for key, value in found if is_jitted(value) and is_helper(value)}

    def is_helper(function):
        return function.targetoptions.get("no_cpython_wrapper", False)

    assert "_normalise" in helpers("kernels.vectors")
    for name in RANK:
        if not name.startswith(("kernels", "bench", "report", "figures", "demo")):
            assert not helpers(name), f"{name} imports {helpers(name)}"


@pytest.mark.parametrize("source", ["import numba as nb", "def f():\n    from numba.core import a"])
def test_the_search_for_numba_catches_it(source):
    assert uses_numba(source)
    assert not uses_numba("import number")
