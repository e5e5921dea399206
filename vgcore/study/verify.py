"""Check a results folder part by part, and put folders of one study together."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgcore.errors import StoreError, StoreWarning
from vgcore.study.files import read_whole
from vgcore.study.plan import chunks
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
    plan, digest = chunks(results.study), results.manifest["study_digest"]
    listed = {part["chunk"]: part for part in results.manifest["parts"]}
    found = set.union(*(part_numbers(results.folder / name) for name in TABLES))
    for index in sorted({*range(len(plan)), *listed}):
        part = listed.get(index)
        if part is None and index not in found:
            yield Finding(index, "missing")
            continue
        try:
            if part is None:
                read_unlisted(results.folder, plan[index], digest)
                yield Finding(index, "unlisted", "whole; the next run takes it over")
                continue
            if index >= len(plan) or part["items"] != [list(x) for x in plan[index].items]:
                raise StoreError(f"part {index}: cut by another plan")
            for name in TABLES:
                read_listed(results.folder, name, part, digest)
            yield Finding(index, "ok")
        except StoreError as error:
            yield Finding(index, "damaged", str(error))


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
    plan = chunks(first.study)
    with Store(out, first.study, plan, n_workers=1, command=command) as store:
        for source in sources:
            for part in source.manifest["parts"]:
                index = part["chunk"]
                if index in store.done or index >= len(plan):
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
    return load_results(out)
