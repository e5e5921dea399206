"""Remedies against vanishing and exploding gradients, each measured on networks of one's own.

vg.remedies.truncation    what is left of dE/dW_rec when losses are carried back k steps
vg.remedies.clipping      what clipping changes, and that it buys no memory
vg.remedies.echo_state    whether a reservoir forgets its past under an input, and its radius
vg.remedies.memory_capacity   how much of past inputs a linear readout explains
vg.remedies.penalties     Omega, orthogonality and L2 on W_rec, and descent on them
"""

from vgcore.remedies import penalties
from vgcore.remedies.clipping import Clipping, clipping
from vgcore.remedies.echo_state import (
    EchoState,
    MemoryCapacity,
    echo_state,
    effective_radius,
    memory_capacity,
)
from vgcore.remedies.penalties import Descent, Penalty, penalised_descent
from vgcore.remedies.truncation import Truncation, truncation

__all__ = [
    "Clipping",
    "Descent",
    "EchoState",
    "MemoryCapacity",
    "Penalty",
    "Truncation",
    "clipping",
    "echo_state",
    "effective_radius",
    "memory_capacity",
    "penalised_descent",
    "penalties",
    "truncation",
]
