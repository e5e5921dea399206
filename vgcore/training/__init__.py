"""What vanishing and exploding gradients do to learning: ensembles of small nets, trained.

vg.training.train       every net of a cell on a task, with a remedy; how it went
vg.training.gradient    loss and gradient on one batch
tasks                   adding, temporal_order, copy_memory, delayed_recall, digits, examples
optimisers              sgd, rmsprop, adam
"""

from vgcore.training.optimisers import Optimiser, adam, rmsprop, sgd
from vgcore.training.run import Training, gradient, train
from vgcore.training.tasks import (
    Task,
    adding,
    copy_memory,
    delayed_recall,
    digits,
    examples,
    temporal_order,
)

__all__ = [
    "Optimiser",
    "Task",
    "Training",
    "adam",
    "adding",
    "copy_memory",
    "delayed_recall",
    "digits",
    "examples",
    "gradient",
    "rmsprop",
    "sgd",
    "temporal_order",
    "train",
]
