"""`vgcore replay`: measure again what a folder holds, and hold every value against the first.

Tables are compared cell by cell. A row is known by the fewest leading columns that tell the rows of
both tables apart, which are the keys of every table that vgcore writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgcore import checks, environment
from vgcore.errors import StoreError
from vgcore.study import Results, load_results, run_study
from vgcore.study.config import IMPACTS
from vgcore.study.store import MANIFEST, TABLES, read_listed

TOLERANCE = 1e-6  # relative
N_SHOWN = 5  # differences that are kept of each table, the largest

_COUNTS = ("identical", "within", "different", "missing", "inside", "outside")

# Where numbers come from, beside the versions of libraries.
ORIGINS = ("cpu", "threading_layer", "git_commit", "seed")


@dataclass(frozen=True)
class Difference:
    """One value that differs: where it stands, and what it was and is.

    `inside` says of an estimate whether it lies within the interval measured first.
    """

    row: str
    column: str
    first: str
    second: str
    inside: bool | None = None

    def __str__(self) -> str:
        where = {None: "", True: ", inside its interval", False: ", outside its interval"}
        return f"{self.row}: {self.column} {self.first} -> {self.second}{where[self.inside]}"


@dataclass
class Comparison:
    """How many values of a table are the same in two runs.

    Attributes
    ----------
    table : str
        Name of the file, or of the part tables `draws` and `profiles`.
    identical, within, different : int
        Values that are equal to the bit; that differ by at most the tolerance; that differ by more.
    missing : int
        Values in one of the two only.
    inside, outside : int
        Estimates among the different ones that lie within the interval of the first run, or not.
    examples : list of Difference
        The largest differences.
    """

    table: str
    identical: int = 0
    within: int = 0
    different: int = 0
    missing: int = 0
    inside: int = 0
    outside: int = 0
    examples: list[Difference] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing is missing and nothing differs by more than the tolerance."""
        return not self.different and not self.missing

    def add(self, other: Comparison) -> None:
        """Count the values of another part of the same table as well."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.examples = [*self.examples, *other.examples][:N_SHOWN]


@dataclass(frozen=True)
class Replay:
    """Two runs of one thing, compared.

    Attributes
    ----------
    first, second : Path
    tables : list of Comparison
    origins : dict
        What differs in where the numbers come from: name to the pair of values.
    tolerance : float
    lacking : list of str
        Tables that one of the two lacks, which were not compared.
    """

    first: Path
    second: Path
    tables: list[Comparison]
    origins: dict[str, tuple[Any, Any]]
    tolerance: float
    lacking: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return all(table.same for table in self.tables)

    @property
    def verdict(self) -> str:
        """All of it in a sentence."""
        lacking = f"; not compared, one run lacks it: {', '.join(self.lacking)}"
        return self._counted() + (lacking if self.lacking else "")

    def _counted(self) -> str:
        n = {name: sum(getattr(table, name) for table in self.tables) for name in _COUNTS}
        total = n["identical"] + n["within"] + n["different"] + n["missing"]
        if n["identical"] == total:
            return f"all {total:,} values are identical to the bit"
        if self.same:
            return (
                f"{n['identical']:,} of {total:,} values are identical to the bit, the other "
                f"{n['within']:,} agree within {self.tolerance:g}"
            )
        said = f"{n['different']:,} of {total:,} values differ by more than {self.tolerance:g}"
        if n["missing"]:
            said += f", {n['missing']:,} are in one run only"
        estimates = n["inside"] + n["outside"]
        if estimates:
            said += f"; estimates within the interval measured first: {n['inside']} of {estimates}"
        return said


def replay(
    folder: str | Path,
    out: str | Path,
    *,
    n_workers: int | None = None,
    tolerance: float = TOLERANCE,
    tell: Callable[[str], None] | None = None,
) -> Replay:
    """Measure again what `folder` holds, into `out`, and compare.

    Parameters
    ----------
    folder
        What `vgcore run` or `vgcore demo` wrote: its manifest says what was measured. Beside it the
        tables (`summary.csv`, ...) suffice; part tables are compared where both folders have them.
    out
        Folder of the second run. An interrupted replay goes on there.
    n_workers
        Threads; all cores where None.
    tolerance
        Largest relative difference of two values that still agree.
    tell
        Called with a line of text for each step done; where None, nothing is said.

    Returns
    -------
    Replay

    Raises
    ------
    StoreError
        `folder` holds no results or nothing to compare, or `out` a finished run, which would say
        nothing about this program.

    Examples
    --------
    >>> import tempfile, vgcore as vg
    >>> from vgcore.replay import replay
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = vg.run_study("smoke", f"{folder}/first", progress=False)
    ...     again = replay(f"{folder}/first", f"{folder}/second")
    >>> again.same
    True
    """
    first, second = Path(folder), Path(out)
    checks.number("tolerance", tolerance, least=0.0)
    run = _open(first)
    if second.resolve() == first.resolve():
        raise ValueError(f"out: found {second}, the folder to replay; name another")
    if (second / MANIFEST).is_file() and _open(second).manifest.get("complete", True):
        raise StoreError(
            f"{second}: holds a finished run, which would be compared without measuring anything; "
            f"delete it, choose another --out, or compare as it is: vgcore replay {first} "
            f"--against {second}"
        )
    _measure(run, second, n_workers, tell)
    return _compared(run, _open(second), tolerance)


def _measure(
    first: _Run,
    out: Path,
    n_workers: int | None,
    tell: Callable[[str], None] | None,
) -> None:
    """Run what the manifest names."""
    if first.results is not None:
        if (first.folder / "decay.json").is_file():
            from vgcore import demo

            demo.run(out, n_workers=n_workers, progress=tell is not None)
            return
        study = first.results.study
        results = run_study(study, out, n_workers=n_workers, progress=tell is not None)
        if (first.folder / "summary.csv").is_file():
            from vgcore.report import write_report

            write_report(results, out)
        return
    kind, seed = first.manifest.get("run"), first.manifest.get("seed")

    def count(done: int, jobs: int, name: str) -> None:
        if tell is not None:
            tell(f"{done}/{jobs} jobs  {name}")

    if kind == "papers" and isinstance(seed, int):
        from vgcore import papers

        if n_workers is not None:
            raise ValueError(
                f"n_workers: found {n_workers}, but papers takes as many threads as "
                "VGCORE_NUM_THREADS says; set that"
            )
        papers.run(out, seed=seed, tell=count)
    elif kind in IMPACTS and isinstance(seed, int):
        from vgcore import impacts

        impacts.run(
            out,
            kind,
            seed=seed,
            only=tuple(first.manifest.get("only", ())),
            n_threads=n_workers,
            tell=count,
        )
    else:
        raise StoreError(
            f"{first.folder / MANIFEST}: names no study and no run with its seed, so this version "
            "of vgcore cannot tell how the folder was made"
        )


def compare(first: str | Path, second: str | Path, *, tolerance: float = TOLERANCE) -> Replay:
    """Compare two folders of results, measuring nothing.

    Parameters
    ----------
    first, second
        Folders of results of the same study.
    tolerance
        Largest relative difference of two values that still agree.

    Returns
    -------
    Replay

    Raises
    ------
    StoreError
        A folder holds no results, the two hold different studies or have no table in common, or a
        part is damaged.
    """
    tolerance = checks.number("tolerance", tolerance, least=0.0)
    return _compared(_open(Path(first)), _open(Path(second)), tolerance)


def _compared(first: _Run, second: _Run, tolerance: float) -> Replay:
    """Compare two runs, table by table."""
    here, there = first.folder, second.folder
    if first.manifest.get("study_digest") != second.manifest.get("study_digest"):
        raise StoreError(f"{there}: holds another study than {here}; compare runs of one study")
    tables = [
        _compare(name, _read(here / name), _read(there / name), tolerance)
        for name in sorted(_files(here) & _files(there))
    ]
    lacking = sorted(_files(here) ^ _files(there))
    if first.results is not None and second.results is not None:
        for name in TABLES:
            if (here / name).is_dir() != (there / name).is_dir():
                lacking.append(name)
            elif (here / name).is_dir():
                found = Comparison(name)
                for one, other in _parts(first.results, second.results, name):
                    found.add(_compare(name, one, other, tolerance))
                tables.append(found)
    if not tables:
        raise StoreError(f"{here} and {there}: have no table in common; `vgcore report` writes it")
    return Replay(
        here, there, tables, _origins(first.manifest, second.manifest), tolerance, lacking
    )


class _Run(NamedTuple):
    """A folder with a manifest, and its results if it is that of a study."""

    folder: Path
    manifest: dict[str, Any]
    results: Results | None


def _open(folder: Path) -> _Run:
    """Read the manifest of any run; that of a study is checked by `load_results`."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise StoreError(f"{folder}: holds no {MANIFEST}, so these are not results") from None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: damaged ({error})") from None
    if not isinstance(found, dict):
        raise StoreError(f"{path}: damaged (found {type(found).__name__}, expected an object)")
    return _Run(folder, found, load_results(folder) if "study" in found else None)


def _files(folder: Path) -> set[str]:
    """Tables beside the manifest."""
    found = {path.name for path in folder.iterdir() if path.suffix in (".csv", ".json")}
    return found - {MANIFEST}


def _read(path: Path) -> pd.DataFrame:
    """A table as text, for equal numbers are written in equal letters; JSON as a row a value."""
    try:
        if path.suffix == ".json":
            values = dict(_leaves(json.loads(path.read_text("utf-8")), ""))
            return pd.DataFrame({"place": list(values), "value": list(values.values())})
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, RecursionError) as error:  # pandas' and json's own are ValueErrors
        raise StoreError(f"{path}: damaged ({error})") from None


def _leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every single value within JSON, with its place."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _leaves(below, f"{place}[{index}]")
    else:
        yield place, "" if value is None else str(value)


def _parts(first: Results, second: Results, name: str) -> Iterator[tuple[pd.DataFrame, ...]]:
    """Tables of both runs, part by part where both are cut alike, so that memory stays flat."""
    cut = [
        [(part["chunk"], part["items"]) for part in run.manifest["parts"]]
        for run in (first, second)
    ]
    if cut[0] != cut[1]:
        yield first.read(name), second.read(name)
        return
    for parts in zip(first.manifest["parts"], second.manifest["parts"], strict=True):
        yield tuple(
            read_listed(run.folder, name, part, run.manifest["study_digest"])
            .replace_schema_metadata(None)
            .to_pandas(use_threads=False)
            for run, part in zip((first, second), parts, strict=True)
        )


def _compare(table: str, first: pd.DataFrame, second: pd.DataFrame, tolerance: float) -> Comparison:
    """Compare two tables cell by cell; empty cells of both count for nothing."""
    found = Comparison(table)
    keys = _keys(first, second)
    first, second = first.set_index(keys), second.set_index(keys)
    rows = first.index.intersection(second.index, sort=False)
    columns = [name for name in first if name in second]
    for frame in (first, second):
        found.missing += frame.size - len(rows) * len(columns)
    first, second = first.loc[rows, columns], second.loc[rows, columns]
    differences = []
    for name in columns:
        one, other = first[name].to_numpy(), second[name].to_numpy()
        present = ~(_empty(one) & _empty(other))
        equal = (one == other) & present
        found.identical += int(equal.sum())
        rest = np.flatnonzero(present & ~equal)
        if not len(rest):
            continue
        size = _distance(one[rest], other[rest])
        found.within += int((size <= tolerance).sum())
        wrong = size > tolerance
        found.different += int(wrong.sum())
        inside = _inside(first, str(name), rest, other)
        found.inside += int((inside[wrong] == 1).sum())
        found.outside += int((inside[wrong] == 0).sum())
        order = np.flatnonzero(wrong)[np.argsort(-size[wrong], kind="stable")][:N_SHOWN]
        for i in order:
            at = rest[i]
            row = rows[at] if isinstance(rows[at], tuple) else (rows[at],)
            label = ", ".join(f"{key} {value}" for key, value in zip(keys, row, strict=True))
            verdict = None if inside[i] < 0 else bool(inside[i])
            said = Difference(label, str(name), str(one[at]), str(other[at]), verdict)
            differences.append((size[i], said))
    differences.sort(key=lambda pair: -pair[0])
    found.examples = [said for _, said in differences[:N_SHOWN]]
    return found


def _keys(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """The fewest leading columns that tell the rows of both tables apart."""
    for n in range(1, len(first.columns) + 1):
        keys = list(first.columns[:n])
        if keys != list(second.columns[:n]):
            break
        if not (first.duplicated(keys).any() or second.duplicated(keys).any()):
            return keys
    raise StoreError(
        f"columns {', '.join(map(str, first.columns))} and {', '.join(map(str, second.columns))}: "
        "rows of the two tables cannot be told apart; they come from different versions"
    )


def _empty(values: np.ndarray) -> np.ndarray:
    return np.asarray(pd.isna(values) | (values == ""))


def _numbers(values: np.ndarray) -> np.ndarray:
    """Values as numbers; nan for words."""
    return pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(np.float64)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Relative difference; infinite where a value is a word, missing, or not finite."""
    a, b = _numbers(one), _numbers(other)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    return np.where(np.isnan(size), np.where(a == b, 0.0, np.inf), size)


def _inside(first: pd.DataFrame, name: str, rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where an estimate lies within the first run's interval, 0 where not, -1 where no interval.

    An estimate is a column beside which stand its ends, `name_low` and `name_high`, or, in a table
    of one estimate a row, `low` and `high` beside `measured` or `value`.
    """
    ends = ("low", "high") if name in ("measured", "value") else (f"{name}_low", f"{name}_high")
    if not all(end in first for end in ends):
        return np.full(len(rows), -1)
    low, high = (_numbers(first[end].to_numpy()[rows]) for end in ends)
    value = _numbers(other[rows])
    known = np.isfinite(low + high + value)
    return np.where(known, (low <= value) & (value <= high), -1)


def _origins(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs in where the numbers come from."""
    flat = [{**manifest, **manifest.get("versions", {})} for manifest in (first, second)]
    names = [*environment.versions(), *ORIGINS]
    pairs = {name: (flat[0].get(name), flat[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
