"""Check a results folder part by part, and put folders of one study together."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgcore.errors import StoreError, StoreWarning
from vgcore.study.files import read_whole
from vgcore.study.plan import Chunk, chunks
from vgcore.study.sequential import COLUMNS, decisions, is_sequential, next_round
from vgcore.study.store import (
    MAX_BYTES,
    TABLES,
    Delivery,
    Results,
    Store,
    load_results,
    part_numbers,
    part_path,
    read_listed,
    read_unlisted,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """What was found of one part.

    Attributes
    ----------
    part : int
    state : str
        "ok"; "unlisted": whole, and taken over by the next run; "missing": not measured yet;
        "damaged": to be measured again, `text` says why.
    text : str
    """

    part: int
    state: str
    text: str = ""

    def to_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


def verify(folder: str | Path) -> Iterator[Finding]:
    """Check every part of a results folder against its checksums and the plan; changes nothing.

    Raises
    ------
    StoreError
        There is no such folder, no results in it, or its manifest is damaged.

    Examples
    --------
    >>> import tempfile, vgcore as vg
    >>> from vgcore.study import verify
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = vg.run_study("smoke", folder, progress=False)
    ...     {finding.state for finding in verify(folder)}
    {'ok'}
    """
    results = load_results(folder)
    study, plan = results.study, chunks(results.study)
    listed = {part["chunk"]: part for part in results.manifest["parts"]}
    found = set.union(*(part_numbers(results.folder / name) for name in TABLES))
    begin, last_round = 0, not is_sequential(study)
    while begin < len(plan):
        findings = [
            _finding(results, index, plan[index], listed.pop(index, None), found)
            for index in range(begin, len(plan))
        ]
        yield from findings
        begin = len(plan)
        if last_round or any(finding.state != "ok" for finding in findings):
            break  # what a round to come holds is not known yet
        draws = _draws(results, begin)
        plan += next_round(study, decisions(study, draws), draws, begin)
        last_round = begin == len(plan)
    for index, part in sorted(listed.items()):
        yield _finding(results, index, None, part, found, known=last_round)


def _finding(
    results: Results,
    index: int,
    chunk: Chunk | None,
    part: dict[str, Any] | None,
    found: set[int],
    *,
    known: bool = True,
) -> Finding:
    """What a part is; `known`: one without a chunk is not of the plan."""
    digest = results.manifest["study_digest"]
    try:
        if part is None:
            if chunk is None or index not in found:
                return Finding(index, "missing")
            read_unlisted(results.folder, chunk, digest)
            return Finding(index, "unlisted", "whole; the next run takes it over")
        planned = None if chunk is None else [list(item) for item in chunk.items]
        if planned != part["items"] and (known or chunk is not None):
            raise StoreError(f"part {index}: cut by another plan")
        for name in TABLES:
            read_listed(results.folder, name, part, digest)
    except StoreError as error:
        return Finding(index, "damaged", str(error))
    return Finding(index, "ok")


def _draws(results: Results, n_parts: int) -> pd.DataFrame:
    """What the rules of a study look at, of its first parts."""
    parts = [part for part in results.manifest["parts"] if part["chunk"] < n_parts]
    return results.of_parts(parts).read("draws", COLUMNS)


def merge(folders: Sequence[str | Path], out: str | Path, command: str | None = None) -> Results:
    """Put the parts of several results folders of one study into one.

    Parts that are damaged are left out with a `StoreWarning`; those in `out` already stay.

    Parameters
    ----------
    folders
        What shards of a study were measured into.
    out
        Folder of the whole; it may hold a part of the study already.
    command
        What the manifest says of how the folder was made.

    Raises
    ------
    StoreError
        A folder holds no results, or those of another study.
    """
    sources = [load_results(folder) for folder in folders]
    if not sources:
        raise ValueError("folders: found none, expected at least one")
    first = sources[0]
    for source in sources[1:]:
        if source.study.digest != first.study.digest:
            raise StoreError(
                f"{source.folder}: holds results of another study ({source.study.name!r}) than "
                f"{first.folder} ({first.study.name!r}); merge shards of one study"
            )
    with Store(out, first.study, chunks(first.study), n_workers=1, command=command) as store:
        begin, plan = 0, store.chunks
        while begin < len(plan):
            for source in sources:
                for part in source.manifest["parts"]:
                    index = part["chunk"]
                    if index in store.done or not begin <= index < len(plan):
                        continue
                    try:
                        whole = read_unlisted(source.folder, plan[index], first.study.digest)
                        files = {
                            name: read_whole(part_path(source.folder, name, index), MAX_BYTES)
                            for name in TABLES
                        }
                    except StoreError as error:
                        warnings.warn(f"{error}; left out", StoreWarning, stacklevel=2)
                        continue
                    took = {"seconds": part["seconds"]} if "seconds" in part else {}
                    store.accept(Delivery({**whole, **took}, files))
            begin = len(plan)
            store.unfold()
    return load_results(out)
