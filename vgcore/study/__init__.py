"""Studies: load one, run it, read its results."""

from vgcore.errors import StoreError, StoreWarning, StudyError, StudyInterrupted, WorkerError
from vgcore.study.config import Study, load_study, shipped_studies
from vgcore.study.engines import run_study
from vgcore.study.plan import Estimate, estimate
from vgcore.study.progress import Progress
from vgcore.study.store import Results, load_results
from vgcore.study.verify import Finding, merge, verify

__all__ = [
    "Estimate",
    "Finding",
    "Progress",
    "Results",
    "StoreError",
    "StoreWarning",
    "Study",
    "StudyError",
    "StudyInterrupted",
    "WorkerError",
    "estimate",
    "load_results",
    "load_study",
    "merge",
    "run_study",
    "shipped_studies",
    "verify",
]
