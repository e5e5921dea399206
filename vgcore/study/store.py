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
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vgcore.environment import THREADING_LAYER, git_commit, processor, versions
from vgcore.errors import StoreError, StoreWarning, StudyError
from vgcore.study.config import Study, load_study
from vgcore.study.plan import Chunk, conditions_table, slices_table

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_MANIFEST_SECONDS = 1.0
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


class Store:
    """A results folder opened for writing; a context manager that keeps other writers out.

    Parameters
    ----------
    folder : path
        Made if missing. Nothing in it is ever deleted but this store's own temporary files; a
        damaged or foreign part of this study is replaced when its chunk has been measured again.
    study : Study
    chunks : sequence of Chunk
        The plan; what is already stored of it is found in `done`.
    n_workers : int
    command : str, optional
        How the run was started; taken from the process where it is None.

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
        self.chunks = chunks
        self._digest = study.digest
        self._parts: dict[int, dict[str, Any]] = {}
        self._written, self._pause = -_MANIFEST_SECONDS, _MANIFEST_SECONDS
        self._unchanged = False
        self._lock: int | None = None
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

    def __enter__(self) -> Store:
        with self._clear_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
        try:
            with self._clear_errors():
                self._open()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.write_manifest()
        except StoreError:
            if exc[0] is None:
                raise  # otherwise the first error is the one to tell
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        manifest = _read_manifest(self.folder) if (self.folder / MANIFEST).exists() else None
        ours = manifest is not None
        empty = not any(next((self.folder / name).glob("part-*"), None) for name in TABLES)
        if manifest is not None and empty and manifest["study"].get("name") == self.study.name:
            manifest = None  # a report kept without its parts, as one is in the source tree
        if manifest is not None:
            _refuse_other_study(self.folder, manifest, self.study)
            _warn_of_other_versions(self.folder, manifest, self._versions)
            self._created = manifest["created"]
            self._verify(manifest["parts"])
            if manifest["complete"] and len(self._parts) == len(self.chunks):
                self._unchanged = True
                return
        for name in TABLES:
            if (self.folder / name).exists() and not (self.folder / name).is_dir():
                raise StoreError(
                    f"{self.folder / name}: a file is in the way; choose another --out"
                )
            (self.folder / name).mkdir(exist_ok=True)
        self._adopt(manifest)
        for name in TABLES:
            for leftover in (self.folder / name).glob(".part-*.parquet.tmp"):
                leftover.unlink()
        (self.folder / f".{MANIFEST}.tmp").unlink(missing_ok=True)
        self.write_manifest()
        readable = self.folder / "study.toml"
        if ours or not readable.exists():
            with contextlib.suppress(StudyError):
                if load_study(readable).digest == self._digest:
                    return  # it may be the user's own file, comments and all
            _write_whole(readable, self.study.to_toml().encode())

    def _verify(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Keep the listed parts that are on disk as they were written and fit the plan."""
        for part in parts:
            index = part["chunk"]
            try:
                if index >= len(self.chunks) or part["items"] != _items(self.chunks[index]):
                    raise StoreError(f"part {index}: cut by another plan")
                for name in TABLES:
                    path = _part_path(self.folder, name, index)
                    _parse(path, _checked_bytes(path, part[name]), self._digest)
            except StoreError as error:
                _warn(f"{error}; measuring it again")
            else:
                self._parts[index] = dict(part)

    def _adopt(self, manifest: Mapping[str, Any] | None) -> None:
        """Take over whole parts that were written after the manifest last was.

        A run writes its manifest before its first part, so where there is none, a part that is not
        verifiably this study's may be somebody else's data and is not replaced.
        """
        listed = set() if manifest is None else {part["chunk"] for part in manifest["parts"]}
        for index in sorted(set.union(*(_part_numbers(self.folder / name) for name in TABLES))):
            if index in listed or index >= len(self.chunks):
                continue
            paths = {name: _part_path(self.folder, name, index) for name in TABLES}
            if manifest is not None and not all(path.exists() for path in paths.values()):
                continue  # a crash between the two files of a part
            try:
                part: dict[str, Any] = {"chunk": index, "items": _items(self.chunks[index])}
                for name, path in paths.items():
                    data = _bytes(path)
                    table = _parse(path, data, self._digest)
                    own = self._footer(name, self.chunks[index], table)
                    if table.schema.metadata[_FOOTER] != own:
                        raise StoreError(f"{path}: holds other rows than this study's part {index}")
                    part[name] = _entry(path, data, table.num_rows)
            except StoreError as error:
                if manifest is None:
                    raise StoreError(f"{error}; move it away or choose another --out") from None
                _warn(f"{error}; measuring it again")
            else:
                self._parts[index] = part

    def write(self, chunk: Chunk, tables: Mapping[str, Columns]) -> None:
        """Store the measured columns of a chunk: `{"draws": ..., "profiles": ...}`.

        Raises
        ------
        StoreError
            The disk is full or read-only; the parts stored so far are kept.
        ValueError
            Columns that are missing, unknown or of another type or length than the schema's.
        """
        part: dict[str, Any] = {"chunk": chunk.index, "items": _items(chunk)}
        encoded: dict[str, tuple[bytes, int]] = {}
        for name, schema in TABLES.items():
            table = _table(name, tables[name], schema)
            footer = {_FOOTER: self._footer(name, chunk, table)}
            encoded[name] = _encode(table.replace_schema_metadata(footer)), table.num_rows
        if encoded["draws"][1] != chunk.n_draws:
            raise ValueError(
                f"chunk {chunk.index}: found {encoded['draws'][1]} measured draws, expected "
                f"{chunk.n_draws}"
            )
        with self._clear_errors():
            for name, (data, n_rows) in encoded.items():
                path = _part_path(self.folder, name, chunk.index)
                _write_whole(path, data)
                part[name] = _entry(path, data, n_rows)
            self._parts[chunk.index] = part
            if time.monotonic() - self._written >= self._pause:
                self.write_manifest()

    def write_manifest(self) -> None:
        """Write the manifest anew, in one step; one that was complete stays as it is."""
        if self._unchanged:
            return
        start = time.monotonic()
        complete = len(self._parts) == len(self.chunks)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "study_digest": self._digest,
            "study": self.study.resolved(),
            **self._machine,
            "created": self._created,
            "finished": _now() if complete else None,
            "complete": complete,
            "n_parts": len(self.chunks),
            "parts": [self._parts[i] for i in sorted(self._parts)],
        }
        with self._clear_errors():
            text = json.dumps(manifest, indent=1, ensure_ascii=True)
            _write_whole(self.folder / MANIFEST, text.encode() + b"\n")
        self._written = time.monotonic()
        # A long list of parts takes long to write; it must not become the work itself.
        self._pause = max(_MANIFEST_SECONDS, 20 * (self._written - start))

    def _footer(self, name: str, chunk: Chunk, table: pa.Table) -> bytes:
        """What a part says of itself.

        The digest of the rows is for parts that no manifest lists yet: page checksums leave page
        headers and the footer unprotected.
        """
        return json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "study": self.study.name,
                "study_digest": self._digest,
                "table": name,
                "chunk": chunk.index,
                "items": _items(chunk),
                "items_are": "condition, first draw, last draw + 1",
                "rows_sha256": _rows_digest(table),
            }
        ).encode()

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

    def _read(self, name: str, keys: list[str]) -> pd.DataFrame:
        tables = [TABLES[name].empty_table()]
        for part in self.manifest["parts"]:
            path = _part_path(self.folder, name, part["chunk"])
            try:
                data = _checked_bytes(path, part[name])
                table = _parse(path, data, self.manifest["study_digest"])
            except StoreError as error:
                raise StoreError(
                    f"{error}. Run the study again with --out {self.folder}: only what is missing "
                    "is measured"
                ) from None
            tables.append(table.cast(TABLES[name]))
        frame: pd.DataFrame = pa.concat_tables(tables).replace_schema_metadata(None).to_pandas()
        order = np.lexsort([frame[key].to_numpy() for key in reversed(keys)])
        if (order[1:] < order[:-1]).any():
            frame = frame.take(order).reset_index(drop=True)
        return frame


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
    try:
        study = Study.from_dict(manifest["study"], str(folder / MANIFEST))
    except StudyError as error:
        raise _damaged(folder, str(error)) from None
    if study.digest != manifest["study_digest"]:
        raise _damaged(folder, "its study does not match its digest, so one of them was edited")
    return Results(folder, study, manifest)


# ---- the manifest


def _damaged(folder: Path, reason: str) -> StoreError:
    return StoreError(
        f"{folder / MANIFEST}: damaged: {reason}. Move it away and run the study again with --out "
        f"{folder}: parts that are whole are taken over"
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
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise StoreError(f"{folder / MANIFEST}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"not JSON ({error})") from None
    if not isinstance(manifest, dict) or "study_digest" not in manifest:
        raise StoreError(
            f"{folder / MANIFEST}: not the manifest of a vgcore study; choose another --out"
        )
    version = manifest.get("schema_version")
    if not isinstance(version, int):
        raise _damaged(folder, f"schema_version is {version!r}, expected a number")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{folder}: written in schema {version} by a newer vgcore; this one reads up to "
            f"{SCHEMA_VERSION}: upgrade vgcore"
        )
    for key, kind in _TYPES.items():
        if not isinstance(manifest.get(key), kind):
            raise _damaged(folder, f"{key} is {manifest.get(key)!r}")
    seen = set()
    for part in manifest["parts"]:
        reason = _part_fault(part)
        if reason is None and part["chunk"] in seen:
            reason = f"part {part['chunk']} is listed twice"
        if reason is not None:
            raise _damaged(folder, reason)
        seen.add(part["chunk"])
    return manifest


def _part_fault(part: Any) -> str | None:
    """What is wrong with an entry of the part list, if anything."""
    if not isinstance(part, dict) or "items" not in part:
        return f"found {part!r} in the list of parts"
    if type(part.get("chunk")) is not int or part["chunk"] < 0:
        return f"a part has the number {part.get('chunk')!r}"
    for name in TABLES:
        entry = part.get(name)
        if not isinstance(entry, dict):
            return f"part {part['chunk']} has no {name}"
        # The name is joined to a path, so nothing but a part's own name will do.
        if entry.get("file") != f"part-{part['chunk']:05d}.parquet":
            return f"part {part['chunk']}: {entry.get('file')!r} is not the name of its file"
        if type(entry.get("bytes")) is not int or not isinstance(entry.get("sha256"), str):
            return f"part {part['chunk']}: {name} has no size or checksum"
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


def _part_path(folder: Path, name: str, index: int) -> Path:
    return folder / name / f"part-{index:05d}.parquet"


def _part_numbers(folder: Path) -> set[int]:
    """Numbers of the files in a folder that have the name of a part."""
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


def _parse(path: Path, data: bytes, digest: str) -> pa.Table:
    """The table in a part file, if it is whole and belongs to the study."""
    try:
        table = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True).read()
        footer = json.loads((table.schema.metadata or {}).get(_FOOTER, b"{}"))
        found = footer.get("study_digest")
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        raise StoreError(f"{path}: damaged ({str(error).splitlines()[0]})") from None
    if found is None:
        raise StoreError(f"{path}: not a part of a vgcore study")
    if found != digest:
        raise StoreError(f"{path}: belongs to another study (digest {str(found)[:12]})")
    if footer.get("table") != path.parent.name:
        raise StoreError(f"{path}: holds the table {footer.get('table')!r}")
    return table


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: missing") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None


def _checked_bytes(path: Path, entry: Mapping[str, Any]) -> bytes:
    """The bytes of a listed part file, if they are those that were written."""
    data = _bytes(path)
    if len(data) != entry["bytes"]:
        raise StoreError(f"{path}: damaged: {len(data)} bytes, expected {entry['bytes']}")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise StoreError(f"{path}: damaged: its checksum does not match the manifest's")
    return data


# ---- files


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it, even across a power cut."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # a rename is durable once the folder is; Windows cannot open folders
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Keep other writers out for as long as the returned descriptor is open.

    The lock is on the folder itself, leaves no file behind, and ends with the process. Where the
    system cannot lock folders (Windows, some network disks) there is none.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"{folder}: another run is writing here; wait for it or choose another --out"
        ) from None
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _warn(message: str) -> None:
    warnings.warn(message, StoreWarning, stacklevel=3)


# ---- where and how a study ran


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _command() -> str:
    """How the process was started, without the folder that the program lies in."""
    program, *arguments = sys.argv or [""]
    return shlex.join([Path(program).name or "python", *arguments])
