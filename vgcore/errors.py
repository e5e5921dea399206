"""Errors that a user can mend; the command line prints their message and no traceback."""

from __future__ import annotations

from pathlib import Path


class StudyError(ValueError):
    """A study that cannot be run as written; the message says where and how to mend it."""


class StoreError(RuntimeError):
    """A results folder that cannot be read or written; the message says why and what to do."""


class WorkerError(RuntimeError):
    """A process that measures for a run died again and again, or could not be reached."""


class StoreWarning(UserWarning):
    """Something in a results folder is not as it was left; what is affected is measured again."""


class StudyInterrupted(KeyboardInterrupt):
    """A study was stopped by Ctrl-C; all that was measured is stored.

    Attributes
    ----------
    folder : Path
    parts_done, parts_total : int
    """

    def __init__(self, folder: Path, parts_done: int, parts_total: int) -> None:
        super().__init__(
            f"interrupted: {parts_done} of {parts_total} parts are stored in {folder}; the same "
            "command goes on from there"
        )
        self.folder = folder
        self.parts_done = parts_done
        self.parts_total = parts_total
