"""Studies: load one, run it, read its results."""

from vgcore.errors import StoreError, StoreWarning, StudyError, StudyInterrupted
from vgcore.study.config import Study, load_study, shipped_studies
from vgcore.study.engines import run_study
from vgcore.study.plan import Estimate, estimate
from vgcore.study.store import Results, load_results

__all__ = [
    "Estimate",
    "Results",
    "StoreError",
    "StoreWarning",
    "Study",
    "StudyError",
    "StudyInterrupted",
    "estimate",
    "load_results",
    "load_study",
    "run_study",
    "shipped_studies",
]
