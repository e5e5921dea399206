"""States of a leaky reservoir under given inputs."""

from __future__ import annotations

from vgcore._typing import Array
from vgcore.kernels.jit import kernel
from vgcore.kernels.layout import Network, _pack_draws, _place_bias
from vgcore.kernels.leaky import Leaky, _leaky_forward
from vgcore.kernels.scales import _copy
from vgcore.kernels.vectors import _scale_exact


@kernel()
def _states_lane(network: Network, shares: Array, skipped: int, rows: Leaky, out: Array) -> None:
    """Set the rows of out (T, N) to the states after each of T steps that follow `skipped` ones.

    Of one draw and trajectory, from its initial state on; the rest of `network` is as in
    `_leaky_batch`, without burn-in.
    """
    n = network.bias.shape[1]
    exponent = rows.layout.exponent
    _pack_draws(network, 0, rows.layout.forward, rows.layout)
    _place_bias(network, 0, rows.layout.forward, rows.layout)
    _copy(network.initial_state[0, 0], rows.state)
    exponent[:] = 0
    for t in range(skipped + out.shape[0]):
        _leaky_forward(network, shares, 0, 0, t, 1, rows)
        if t >= skipped:
            _copy(rows.state[:n], out[t - skipped])
            _scale_exact(out[t - skipped], exponent[0])
