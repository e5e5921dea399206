"""Results of a study on disk: Parquet parts, and a manifest that says what they are.

    DIR/manifest.json               study, versions, machine, parts with row counts and checksums
    DIR/study.toml                  the resolved study, for readers
    DIR/draws/part-00000.parquet    one row a condition and draw
    DIR/profiles/part-00000.parquet one row a condition, draw and kept lag

Part i holds chunk i of the plan. A file appears under its name only when it is whole (temporary
name, flush, rename), so a crash at any moment costs the chunks in hand and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from vgcore import checks
from vgcore.environment import THREADING_LAYER, git_commit, processor, versions
from vgcore.errors import StoreError, StoreWarning, StudyError
from vgcore.study.config import Study, load_study
from vgcore.study.files import Lock, make_folder, read_whole, write_whole
from vgcore.study.plan import Chunk, conditions_table, cost, slices_table
from vgcore.study.sequential import COLUMNS, Decision, decisions, is_sequential, next_round

SCHEMA_VERSION = 1
MOST_CURVES = 2048
MANIFEST = "manifest.json"
STUDY_FILE = "study.toml"
# What a chunk of the plan can come to, several times over: a limit for files that claim more.
MAX_ROWS = 20_000_000
MAX_BYTES = 2**30
_MANIFEST_BYTES = 2**30
_TEMPORARY = re.compile(
    r"\.(part-\d{5,9}\.parquet|manifest\.json|study\.toml)(\.[0-9a-f]{12})?\.tmp"
)
_MANIFEST_SECONDS = 1.0
_MOST_SECONDS = 1e9
_PART = re.compile(r"part-(\d{5,9})\.parquet")
_FOOTER = b"vgcore"

Columns = Mapping[str, npt.NDArray[Any]]


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"meaning": meaning})


_KEYS = [
    _field("condition", pa.int32(), "number of the condition"),
    _field("draw", pa.int64(), "number of the draw; shared by conditions of equal size"),
]
TABLES: dict[str, pa.Schema] = {
    "draws": pa.schema(
        [
            *_KEYS,
            _field("rate", pa.float64(), "vanishing rate, nats per step; -inf: gradient exactly 0"),
            _field("rate_se", pa.float64(), "standard error of the rate, nats per step"),
            _field("horizon", pa.int32(), "memory horizon, lags"),
            _field("censored", pa.bool_(), "the horizon lies beyond the last lag"),
            _field("growth_horizon", pa.int32(), "first lag at which the norm has grown to 1/eps"),
            _field("growth_censored", pa.bool_(), "the growth horizon lies beyond the last lag"),
            _field("event", pa.string(), "vanish, explode or censored, whichever came first"),
            _field("growing", pa.bool_(), "at its rate the norm grows to 1/eps within n_steps"),
            _field("rho", pa.float64(), "spectral radius of W_rec; the mean over a cell's blocks"),
            _field("cosine", pa.float64(), "cosine of dE/dW_rec after the remedy with that before"),
            _field("log_kept", pa.float64(), "ln ratio of these two norms; 0: left as it was"),
            _field("log_norm_end", pa.float64(), "ln gradient norm at the last lag"),
            _field("stopped_at", pa.int32(), "update at which a remedy's descent diverged, or -1"),
        ]
    ),
    "profiles": pa.schema(
        [
            *_KEYS,
            _field("lag", pa.int32(), "distance back from the loss, steps"),
            _field("log_norm", pa.float64(), "ln ||dE_T/dx_{T-lag}||"),
            _field("log_contribution", pa.float64(), "ln ||dE_T/dx_k d+x_k/dW_rec||, k = T - lag"),
        ]
    ),
}


@dataclass(frozen=True)
class Delivery:
    """A measured chunk: its entry in the manifest, and its files where they are not written yet."""

    part: dict[str, Any]
    files: dict[str, bytes] | None
    worker: str = ""


def encode(name: str, digest: str, chunk: Chunk, tables: Mapping[str, Columns]) -> Delivery:
    """The measured columns of a chunk, `{"draws": ..., "profiles": ...}`, as a part to be written.

    `name` and `digest` are the study's.

    Raises
    ------
    ValueError
        Columns that are missing, unknown or of another type or length than the schema's.
    """
    part: dict[str, Any] = {"chunk": chunk.index, "items": _items(chunk)}
    files: dict[str, bytes] = {}
    for table_name, schema in TABLES.items():
        table = _table(table_name, tables[table_name], schema)
        if table_name == "draws" and table.num_rows != chunk.n_draws:
            raise ValueError(
                f"chunk {chunk.index}: found {table.num_rows} measured draws, expected "
                f"{chunk.n_draws}"
            )
        footer = json.dumps({"study": name, **_footer(table_name, digest, chunk, table)})
        data = _encode(table.replace_schema_metadata({_FOOTER: footer.encode()}))
        files[table_name] = data
        part[table_name] = _entry(part_path(Path(), table_name, chunk.index), data, table.num_rows)
    return Delivery(part, files)


def write_files(folder: Path, delivery: Delivery) -> Delivery:
    """Write the files of a part, each whole or not at all."""
    for name, data in (delivery.files or {}).items():
        write_whole(part_path(folder, name, delivery.part["chunk"]), data)
    return replace(delivery, files=None)


class Store:
    """A results folder opened for writing; a context manager that keeps other writers out.

    Parameters
    ----------
    folder : path
        Made if missing. Nothing in it is ever deleted but this store's own temporary files; a
        damaged or foreign part of this study is replaced when its chunk has been measured again.
    study : Study
    chunks : sequence of Chunk
        The plan, or the first round of it; what is already stored of it is found in `done`.
    n_workers : int
    command : str, optional
        How the run was started; taken from the process where it is None.

    Attributes
    ----------
    token : str
        What a worker reads in the folder's lock if it sees the same folder.

    Raises
    ------
    StoreError
        The folder holds another study's results or files that are in the way, cannot be written,
        or another process is writing to it.
    """

    def __init__(
        self,
        folder: str | Path,
        study: Study,
        chunks: Sequence[Chunk],
        *,
        n_workers: int,
        command: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.study = study
        self.chunks = list(chunks)
        self.token = ""
        self._listed: dict[int, dict[str, Any]] = {}
        self._seen: frozenset[int] = frozenset()
        self._ours, self._anonymous = True, False
        self._decided: list[Decision] = []
        self._sequential = is_sequential(study)
        self._last_round = not self._sequential
        self._digest = study.digest
        self._parts: dict[int, dict[str, Any]] = {}
        self._written, self._pause = -_MANIFEST_SECONDS, _MANIFEST_SECONDS
        self._unchanged = False
        self._lock: Lock | None = None
        self._versions = versions()
        self._machine = {
            "versions": self._versions,
            "cpu": processor(),
            "threads": n_workers,
            "threading_layer": THREADING_LAYER,
            "git_commit": git_commit(),
            "command": _command() if command is None else command,
        }
        self._created = _now()

    @property
    def done(self) -> frozenset[int]:
        """Indices of the chunks that are stored."""
        return frozenset(self._parts)

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored and no round is to come."""
        return self._last_round and len(self._parts) == len(self.chunks)

    def __enter__(self) -> Store:
        with self._clear_errors():
            make_folder(self.folder)
            self._lock = Lock(self.folder)
            self.token = self._lock.token
        try:
            with self._clear_errors():
                self._open()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.write_manifest()
        except StoreError:
            if exc[0] is None:
                raise  # otherwise the first error is the one to tell
        finally:
            if self._lock is not None:
                self._lock.close()

    def _open(self) -> None:
        manifest, damaged = self._manifest()
        empty = not any(next((self.folder / name).glob("part-*"), None) for name in TABLES)
        if manifest is not None and empty and manifest["study"].get("name") == self.study.name:
            manifest = None  # a report kept without its parts, as one is in the source tree
            ours = True
        else:
            ours = manifest is not None or damaged or self._is_named_by_study_file()
        if manifest is not None:
            _refuse_other_study(self.folder, manifest, self.study)
            _warn_of_other_versions(self.folder, manifest, self._versions)
            self._created = manifest["created"]
            self._listed = {part["chunk"]: dict(part) for part in manifest["parts"]}
            self._seen = frozenset(self._listed)
            self._take_over(adopting=False)
            with contextlib.suppress(DamagedManifest):
                _study_of(self.folder, manifest)
                if manifest["complete"] and self.complete:
                    self._unchanged = True
                    with contextlib.suppress(OSError):  # a complete folder may be read-only
                        self._remove_leftovers()
                    return
        for name in TABLES:
            table = self.folder / name
            if table.is_symlink() or (table.exists() and not table.is_dir()):
                raise StoreError(f"{table}: a file is in the way; choose another --out")
            make_folder(table)
        self._ours, self._anonymous = ours, manifest is None
        self._take_over(adopting=True)
        self._remove_leftovers()
        if damaged:
            aside = self.folder / f"{MANIFEST}.damaged"
            os.replace(self.folder / MANIFEST, aside)
        self.write_manifest()
        readable = self.folder / STUDY_FILE
        # what is there may be the user's own file, comments and all
        if not self._is_named_by_study_file() and (ours or not readable.exists()):
            write_whole(readable, self.study.to_toml().encode())

    def _remove_leftovers(self) -> None:
        """Remove temporary files of a run that was killed."""
        for folder in (self.folder, *(self.folder / name for name in TABLES)):
            for leftover in folder.iterdir():
                if _TEMPORARY.fullmatch(leftover.name):
                    leftover.unlink(missing_ok=True)

    def _manifest(self) -> tuple[dict[str, Any] | None, bool]:
        """The manifest, if there is one, and whether one is there that is beyond reading.

        A damaged manifest is made again from the parts, if it is known to be this study's.
        """
        if not os.path.lexists(self.folder / MANIFEST):
            return None, False
        try:
            return _read_manifest(self.folder), False
        except DamagedManifest as error:
            if not self._is_named_by_study_file():
                raise
            _warn(f"{error.reason}; making it again from the parts")
            return None, True

    def _is_named_by_study_file(self) -> bool:
        """Whether the study file in the folder is this study's, which a run leaves there."""
        with contextlib.suppress(StudyError, OSError):
            return load_study(self.folder / STUDY_FILE).digest == self._digest
        return False

    def _take_over(self, *, adopting: bool) -> None:
        """Keep what is there of the plan, and of each round that it completes."""
        begin = 0
        while True:
            self._verify()
            if adopting:
                self._adopt(begin)
            begin = len(self.chunks)
            if not self._extend():
                return

    def unfold(self) -> list[Chunk]:
        """The chunks of the next round, once all before are stored; empty where there is none.

        Raises
        ------
        StoreError
            A part that was stored cannot be read any more.
        """
        begin = len(self.chunks)
        with self._clear_errors():
            if self._extend():
                self._verify()
                self._adopt(begin)
        return self.chunks[begin:]

    def _extend(self) -> bool:
        """Plan the next round if it is known."""
        if self._last_round or len(self._parts) < len(self.chunks):
            return False
        tables = [
            read_listed(self.folder, "draws", self._parts[i], self._digest).select(COLUMNS)
            for i in sorted(self._parts)
        ]
        draws = pa.concat_tables(tables).replace_schema_metadata(None).to_pandas()
        self._decided = decisions(self.study, draws)
        more = next_round(self.study, self._decided, draws, len(self.chunks))
        self._last_round = not more
        self.chunks += more
        return bool(more)

    def _verify(self) -> None:
        """Keep the listed parts that are on disk as they were written and fit the plan."""
        for index, part in sorted(self._listed.items()):
            if index >= len(self.chunks) and not self._last_round:
                continue  # of a round that is not known yet
            del self._listed[index]
            try:
                if index >= len(self.chunks) or part["items"] != _items(self.chunks[index]):
                    raise StoreError(f"part {index}: cut by another plan")
                for name in TABLES:
                    read_listed(self.folder, name, part, self._digest)
            except StoreError as error:
                _warn(f"{error}; measuring it again")
            else:
                self._parts[index] = dict(part)

    def _adopt(self, begin: int) -> None:
        """Take over whole parts that were written after the manifest last was.

        A run writes its manifest before its first part, so where nothing says that the folder is
        this study's, a part that is not verifiably so may be somebody else's data and is not
        replaced.
        """
        ours = self._ours
        for index in sorted(set.union(*(part_numbers(self.folder / name) for name in TABLES))):
            if index in self._seen or not begin <= index < len(self.chunks):
                continue
            paths = [part_path(self.folder, name, index) for name in TABLES]
            if ours and not all(path.exists() for path in paths):
                continue  # a crash between the two files of a part
            try:
                self._parts[index] = read_unlisted(self.folder, self.chunks[index], self._digest)
            except StoreError as error:
                if not ours or (self._anonymous and isinstance(error, _ForeignPart)):
                    raise StoreError(f"{error}; move it away or choose another --out") from None
                _warn(f"{error}; measuring it again")

    def accept(self, delivery: Delivery) -> None:
        """Store a part, or take note of one that its worker has written here already.

        Raises
        ------
        StoreError
            The disk is full or read-only; the parts stored so far are kept.
        """
        with self._clear_errors():
            write_files(self.folder, delivery)
            self._parts[delivery.part["chunk"]] = delivery.part
            if time.monotonic() - self._written >= self._pause:
                self.write_manifest()

    def write_manifest(self) -> None:
        """Write the manifest anew, in one step; one that was complete stays as it is."""
        if self._unchanged:
            return
        start = time.monotonic()
        complete = self.complete
        seconds = {i: part["seconds"] for i, part in self._parts.items() if part.get("seconds")}
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "study_digest": self._digest,
            "study": self.study.resolved(),
            **self._machine,
            "created": self._created,
            "finished": _now() if complete else None,
            "complete": complete,
            "n_parts": len(self.chunks),
            "cost": cost(self.chunks, seconds),
            **({"precision": [one.plain() for one in self._decided]} if self._sequential else {}),
            "parts": [self._parts[i] for i in sorted(self._parts)],
        }
        with self._clear_errors():
            text = json.dumps(manifest, indent=1, ensure_ascii=True)
            write_whole(self.folder / MANIFEST, text.encode() + b"\n")
        self._written = time.monotonic()
        # A long list of parts takes long to write; it must not become the work itself.
        self._pause = max(_MANIFEST_SECONDS, 20 * (self._written - start))

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Say what an error of the file system means for the study."""
        try:
            yield
        except OSError as error:
            kept = f"{len(self._parts)} of {len(self.chunks)} parts are stored and safe"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreError(
                    f"{self.folder}: no space left on the disk; {kept}. Free some space and run "
                    "the same command again: it goes on from there"
                ) from error
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise StoreError(
                    f"{self.folder}: cannot be written ({error.strerror}); {kept}. Choose another "
                    "folder with --out or mend its permissions"
                ) from error
            raise StoreError(f"{self.folder}: {error}; {kept}") from error


class Results:
    """Results of a study, as `load_results` reads them.

    Attributes
    ----------
    folder : Path
    study : Study
    manifest : dict
    complete : bool
        Whether every part has been measured.
    conditions, slices : pandas.DataFrame
        A row a condition with its factors; a row a slice and condition.
    draws, profiles : pandas.DataFrame
        A row a condition and draw; a row a condition, draw and kept lag. Sorted by these keys; read
        from disk when first used, and checked against the manifest's checksums.
    """

    def __init__(self, folder: Path, study: Study, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.study = study
        self.manifest = manifest

    def __repr__(self) -> str:
        parts = f"{len(self.manifest['parts'])} of {self.manifest['n_parts']} parts"
        return f"Results({str(self.folder)!r}, study={self.study.name!r}, {parts})"

    @property
    def complete(self) -> bool:
        return bool(self.manifest["complete"])

    @property
    def n_draws(self) -> int:
        """Number of measured rows of `draws`, known without reading them."""
        return sum(part["draws"]["rows"] for part in self.manifest["parts"])

    @functools.cached_property
    def conditions(self) -> pd.DataFrame:
        return conditions_table(self.study)

    @functools.cached_property
    def slices(self) -> pd.DataFrame:
        return slices_table(self.study)

    @functools.cached_property
    def draws(self) -> pd.DataFrame:
        return self._read("draws", ["condition", "draw"])

    @functools.cached_property
    def profiles(self) -> pd.DataFrame:
        return self._read("profiles", ["condition", "draw", "lag"])

    def curves(self, conditions: Iterable[int]) -> pd.DataFrame:
        """Rows of `profiles` of some conditions, of their first 2,048 draws at most.

        Draws are independent, so the first are a sample; parts of other conditions are not read.
        """
        field, wanted = pyarrow.dataset.field, {int(one) for one in conditions}
        where = field("condition").isin(sorted(wanted)) & (field("draw") < MOST_CURVES)
        parts = [
            part
            for part in self.manifest["parts"]
            if any(item[0] in wanted and item[1] < MOST_CURVES for item in part["items"])
        ]
        return self.of_parts(parts).read("profiles", where=where)

    def of_parts(self, parts: Sequence[Mapping[str, Any]]) -> Results:
        """The results in some of the parts that the manifest lists."""
        return Results(self.folder, self.study, {**self.manifest, "parts": list(parts)})

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: pyarrow.dataset.Expression | None = None,
    ) -> pd.DataFrame:
        """Some columns and rows of a table, one part in memory at a time.

        Parameters
        ----------
        table
            "draws" or "profiles".
        columns
            Names of the columns wanted; None means all.
        where
            Which rows, as an expression of `pyarrow.dataset.field`; None means all.

        Returns
        -------
        pandas.DataFrame
            Rows in the order of `draws` and `profiles`.

        Raises
        ------
        ValueError
            No such table or column.
        StoreError
            A part is damaged or missing.

        Examples
        --------
        >>> import tempfile, vgcore as vg
        >>> from pyarrow.dataset import field
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = vg.run_study("smoke", folder, progress=False)
        ...     len(results.read("draws", ["draw", "rate"], field("condition") == 3))
        20
        """
        checks.choice("table", table, tuple(TABLES))
        for column in columns or ():
            checks.choice("columns", column, tuple(TABLES[table].names))
        keys = [name for name in ("condition", "draw", "lag") if name in TABLES[table].names]
        return self._read(table, keys, columns, where)

    def _read(
        self,
        name: str,
        keys: list[str],
        columns: Sequence[str] | None = None,
        where: pyarrow.dataset.Expression | None = None,
    ) -> pd.DataFrame:
        wanted = TABLES[name].names if columns is None else list(columns)
        kept = [*wanted, *(key for key in keys if key not in wanted)]
        found = {column: _Column(TABLES[name].field(column).type) for column in kept}
        for part in self.manifest["parts"]:
            try:
                table = read_listed(self.folder, name, part, self.manifest["study_digest"])
            except StoreError as error:
                raise StoreError(
                    f"{error}. Run the study again with --out {self.folder}: only what is missing "
                    "is measured"
                ) from None
            try:
                table = table if where is None else table.filter(where)
                for column, values in found.items():
                    values.append(table[column])
            except (pa.ArrowException, TypeError) as error:
                raise ValueError(f"where: does not fit table {name!r}: {error}") from None
        order = np.lexsort([found[key].values for key in reversed(keys)])
        # one after the other, so that the table is not there twice
        frame = {column: found.pop(column).taken(order) for column in wanted}
        pa.default_memory_pool().release_unused()
        return pd.DataFrame(frame, columns=wanted, copy=False)


class _Column:
    """A column that grows part by part; what a part was unpacked to may go at once.

    Large arrays grow in place, so memory is neither held twice nor left in pieces.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._strings = [pa.array([], kind)] if pa.types.is_string(kind) else None
        self._values = np.empty(0, kind.to_pandas_dtype() if self._strings is None else np.int8)
        self._length = 0

    def append(self, values: pa.ChunkedArray) -> None:
        if self._strings is not None:
            self._strings += values.chunks
            return
        length = self._length + len(values)
        if length > len(self._values):
            self._values.resize(max(length, 2 * len(self._values)), refcheck=False)
        self._values[self._length : length] = values.to_numpy()
        self._length = length

    @property
    def values(self) -> npt.NDArray[Any]:
        return self._values[: self._length]

    def taken(self, order: npt.NDArray[np.int64]) -> pd.Series[Any]:
        if self._strings is None:
            return pd.Series(self.values[order])
        strings = pa.concat_arrays(self._strings).take(pa.array(order))
        taken: pd.Series[Any] = pa.chunked_array([strings]).to_pandas()
        return taken


def load_results(folder: str | Path) -> Results:
    """Open the results of a study.

    Parameters
    ----------
    folder
        What `run_study` wrote. An interrupted study loads with what there is.

    Returns
    -------
    Results

    Raises
    ------
    StoreError
        No such folder, no results in it, results of a newer vgcore, or a damaged manifest.

    Examples
    --------
    >>> import tempfile, vgcore as vg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = vg.run_study("smoke", folder, progress=False)
    ...     len(vg.load_results(folder).draws)
    600
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder; `vgcore run STUDY --out {folder}` makes it")
    if not (folder / MANIFEST).is_file():
        raise StoreError(
            f"{folder}: holds no {MANIFEST}, so these are not results of a study; name the folder "
            "that was given to `vgcore run` as --out"
        )
    manifest = _read_manifest(folder)
    return Results(folder, _study_of(folder, manifest), manifest)


# ---- the manifest


class DamagedManifest(StoreError):
    """A manifest that says it is one of vgcore's, or once was, and cannot be used."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.reason = f"{folder / MANIFEST}: damaged: {reason}"
        super().__init__(
            f"{self.reason}. Move it away and run the study again with --out {folder}: parts that "
            "are whole are taken over"
        )


_TYPES: dict[str, type | tuple[type, ...]] = {
    "study_digest": str,
    "study": dict,
    "versions": dict,
    "created": str,
    "complete": bool,
    "n_parts": int,
    "parts": list,
}


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, with the types that the rest of this module counts on."""
    data = read_whole(folder / MANIFEST, _MANIFEST_BYTES)
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(folder, f"not JSON ({error})") from None
    if not isinstance(manifest, dict) or "study_digest" not in manifest:
        kind = manifest.get("run") if isinstance(manifest, dict) else None
        what = f"; it is of `vgcore run {kind}`, which writes its own report" if kind else ""
        raise StoreError(
            f"{folder / MANIFEST}: not the manifest of a vgcore study{what}; choose another folder"
        )
    version = manifest.get("schema_version")
    if not isinstance(version, int):
        raise DamagedManifest(folder, f"schema_version is {version!r}, expected a number")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{folder}: written in schema {version} by a newer vgcore; this one reads up to "
            f"{SCHEMA_VERSION}: upgrade vgcore"
        )
    for key, kind in _TYPES.items():
        if not isinstance(manifest.get(key), kind):
            raise DamagedManifest(folder, f"{key} is {manifest.get(key)!r}")
    if not _is_cost(manifest.get("cost")):
        raise DamagedManifest(folder, f"cost is {manifest['cost']!r}")
    seen = set()
    for part in manifest["parts"]:
        reason = _part_fault(part)
        if reason is None and part["chunk"] in seen:
            reason = f"part {part['chunk']} is listed twice"
        if reason is not None:
            raise DamagedManifest(folder, reason)
        seen.add(part["chunk"])
    return manifest


def _is_cost(found: Any) -> bool:
    """Whether this is what `plan.cost` returns, with numbers that can be printed."""
    if found is None:
        return True
    names = ("predicted_seconds", "seconds", "ratio", "ratio_q05", "ratio_q95")
    return isinstance(found, dict) and all(
        isinstance(value, (int, float)) and 0 <= value < _MOST_SECONDS
        for value in (found.get(name) for name in names)
    )


def _study_of(folder: Path, manifest: Mapping[str, Any]) -> Study:
    """The study in a manifest, which must be the one that its digest names."""
    try:
        study = Study.from_dict(manifest["study"], str(folder / MANIFEST))
    except StudyError as error:
        raise DamagedManifest(folder, str(error)) from None
    if study.digest != manifest["study_digest"]:
        reason = "its study does not match its digest, so one of them was edited"
        raise DamagedManifest(folder, reason)
    return study


def _part_fault(part: Any) -> str | None:
    """What is wrong with an entry of the part list, if anything."""
    if not isinstance(part, dict) or "items" not in part:
        return f"found {part!r} in the list of parts"
    if type(part.get("chunk")) is not int or part["chunk"] < 0:
        return f"a part has the number {part.get('chunk')!r}"
    items = part["items"] if isinstance(part["items"], list) else [None]
    if not all(isinstance(x, list) and [type(n) for n in x] == [int] * 3 for x in items):
        return f"part {part['chunk']} holds {part['items']!r}"
    seconds = part.get("seconds", 0)
    if type(seconds) not in (int, float) or not 0 <= seconds < _MOST_SECONDS:
        return f"part {part['chunk']} took {seconds!r} seconds"
    for name in TABLES:
        entry = part.get(name)
        if not isinstance(entry, dict):
            return f"part {part['chunk']} has no {name}"
        # The name is joined to a path, so nothing but a part's own name will do.
        if entry.get("file") != f"part-{part['chunk']:05d}.parquet":
            return f"part {part['chunk']}: {entry.get('file')!r} is not the name of its file"
        if not all(type(entry.get(key)) is int for key in ("bytes", "rows")):
            return f"part {part['chunk']}: {name} has no size"
        if not isinstance(entry.get("sha256"), str):
            return f"part {part['chunk']}: {name} has no checksum"
    return None


def _refuse_other_study(folder: Path, manifest: Mapping[str, Any], study: Study) -> None:
    if manifest["study_digest"] != study.digest:
        raise StoreError(
            f"{folder}: holds results of another study: {manifest['study'].get('name')!r}, "
            f"digest {manifest['study_digest'][:12]}, {len(manifest['parts'])} of "
            f"{manifest['n_parts']} parts done; {study.name!r} has digest {study.digest[:12]}. "
            "Choose another folder with --out"
        )


def _warn_of_other_versions(
    folder: Path, manifest: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Results of two versions may differ in the last bit, which the reader should know."""
    changed = [
        f"{name} {found} (now {versions[name]})"
        for name, found in manifest["versions"].items()
        if versions.get(name, found) != found
    ]
    if changed and not manifest["complete"]:
        _warn(f"{folder}: begun with {', '.join(changed)}; last digits may differ")


# ---- parts


def part_path(folder: Path, name: str, index: int) -> Path:
    return folder / name / f"part-{index:05d}.parquet"


def part_numbers(folder: Path) -> set[int]:
    """Numbers of the files in a folder that have the name of a part."""
    if not folder.is_dir():
        return set()
    matches = (_PART.fullmatch(path.name) for path in folder.iterdir())
    return {int(m[1]) for m in matches if m and m[0] == f"part-{int(m[1]):05d}.parquet"}


def _items(chunk: Chunk) -> list[list[int]]:
    return [list(item) for item in chunk.items]


def _entry(path: Path, data: bytes, n_rows: int) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"file": path.name, "rows": n_rows, "bytes": len(data), "sha256": digest}


def _table(name: str, columns: Columns, schema: pa.Schema) -> pa.Table:
    """Columns as a table of the schema; integers and floats may be narrowed only without loss."""
    if set(columns) != set(schema.names):
        raise ValueError(
            f"{name}: found columns {sorted(columns)}, expected {sorted(schema.names)}"
        )
    try:
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
        return pa.Table.from_arrays(arrays, schema=schema)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name}: columns do not fit the schema: {error}") from None


def _rows_digest(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for column in table.columns:
        values = column.to_numpy()
        digest.update("\n".join(values).encode() if values.dtype == object else values.tobytes())
    return digest.hexdigest()


def _encode(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


class _ForeignPart(StoreError):
    """A whole file under a part's name that is none of this study and table."""


def _footer(name: str, digest: str, chunk: Chunk, table: pa.Table) -> dict[str, Any]:
    """What a part says of itself.

    The digest of the rows is for parts that no manifest lists yet: page checksums leave page
    headers and the footer unprotected.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "study_digest": digest,
        "table": name,
        "chunk": chunk.index,
        "items": _items(chunk),
        "items_are": "condition, first draw, last draw + 1",
        "rows_sha256": _rows_digest(table),
    }


def _parse(path: Path, data: bytes, digest: str) -> tuple[pa.Table, dict[str, Any]]:
    """The table in a part file and what it says of itself, if it is whole and of the study.

    Nothing is unpacked before the number of rows and the types of the columns are known to be a
    part's.
    """
    name = path.parent.name
    try:
        file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
        footer = json.loads((file.schema_arrow.metadata or {}).get(_FOOTER, b"{}"))
        found = footer.get("study_digest")
        if found is None:
            raise _ForeignPart(f"{path}: not a part of a vgcore study")
        if found != digest:
            raise _ForeignPart(f"{path}: belongs to another study (digest {str(found)[:12]})")
        if footer.get("table") != name:
            raise _ForeignPart(f"{path}: holds the table {footer.get('table')!r}")
        if not file.schema_arrow.equals(TABLES[name]):
            raise StoreError(f"{path}: has other columns than this version's table {name!r}")
        if file.metadata.num_rows > MAX_ROWS:
            raise StoreError(f"{path}: {file.metadata.num_rows:,} rows, more than a part can have")
        return file.read(use_threads=False), footer
    except (pa.ArrowException, OSError, ValueError, AttributeError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"{path}: damaged ({reason})") from None


def read_listed(folder: Path, name: str, part: Mapping[str, Any], digest: str) -> pa.Table:
    """A table of a part that the manifest lists, if its file is as it was written.

    Raises
    ------
    StoreError
        Names the file and what is wrong with it.
    """
    path, entry = part_path(folder, name, part["chunk"]), part[name]
    data = read_whole(path, MAX_BYTES)
    if len(data) != entry["bytes"]:
        raise StoreError(f"{path}: damaged: {len(data)} bytes, expected {entry['bytes']}")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise StoreError(f"{path}: damaged: its checksum does not match the manifest's")
    table, _ = _parse(path, data, digest)
    if table.num_rows != entry["rows"]:
        raise StoreError(f"{path}: damaged: {table.num_rows} rows, expected {entry['rows']}")
    return table


def read_unlisted(folder: Path, chunk: Chunk, digest: str) -> dict[str, Any]:
    """The entry of a part that the manifest does not list, if its files are whole and of the plan.

    Raises
    ------
    StoreError
        Names the file and what is wrong with it.
    """
    part: dict[str, Any] = {"chunk": chunk.index, "items": _items(chunk)}
    for name in TABLES:
        path = part_path(folder, name, chunk.index)
        data = read_whole(path, MAX_BYTES)
        table, footer = _parse(path, data, digest)
        own = _footer(name, digest, chunk, table)
        if {key: footer.get(key) for key in own} != own:
            raise StoreError(f"{path}: holds other rows than this study's part {chunk.index}")
        part[name] = _entry(path, data, table.num_rows)
    return part


def _warn(message: str) -> None:
    warnings.warn(message, StoreWarning, stacklevel=3)


# ---- where and how a study ran


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _command() -> str:
    """How the process was started, without the folder that the program lies in."""
    program, *arguments = sys.argv or [""]
    return shlex.join([Path(program).name or "python", *arguments])
