"""What a study amounts to: its conditions, and its work cut into chunks.

Pure functions of the study alone. Chunks do not depend on the number of threads, so that a study
begun on one machine goes on, part by part, on another.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vgcore.cell_kernels import rows_of
from vgcore.environment import thread_count
from vgcore.errors import StudyError
from vgcore.study.config import FACTORS, SIZES, Condition, Precision, Study

if TYPE_CHECKING:
    import pandas as pd

# What a core of 2023 does in a second of the operations that `draw_flop` counts.
CORE_FLOPS = 2.5e10
# 0.3 s of one core: long against the cost of writing a part (some 10 ms), short enough that an
# interrupt waits little and that no core idles long at the end.
CHUNK_FLOP = 0.3 * CORE_FLOPS
# Several chunks are in memory at a time, with all their rows.
CHUNK_DRAWS = 2048
MAX_CHUNKS = 1_000_000
ITEM_BYTES = 8 * 2**20
DRAW_BYTES = 4 * 2**30
# Kernels carry up to 16 draws of small networks side by side, so blocks end on whole sixteens.
GRAIN = 16
GRAIN_HIDDEN = 64
# Conditions in a chunk that share their random numbers, where there are as many. What is drawn once
# for eight takes some 4 % of the time at 64 units; more of them would mean fewer draws at a time.
SHARING = 8

DRAW_ROW_BYTES = 60
PROFILE_ROW_BYTES = 20


@dataclass(frozen=True)
class PlannedCondition:
    """A condition with its place in the study.

    Attributes
    ----------
    index : int
        Its number in the result tables, in order of first appearance in the study.
    condition : Condition
    n_draws : int
        The largest number that one of its slices asks for, at first where it asks for a precision.
    slices : tuple of str
        Names of the slices that it belongs to.
    rules : tuple of Precision
        The precisions that its slices ask for.
    start : int
        The first draw that is planned.
    """

    index: int
    condition: Condition
    n_draws: int
    slices: tuple[str, ...]
    rules: tuple[Precision, ...] = ()
    start: int = 0

    @property
    def most_draws(self) -> int:
        """The largest number of draws that it may come to."""
        return max(self.n_draws, *(rule.most for rule in self.rules), 0)


class Item(NamedTuple):
    """Draws `start` to `stop - 1` of one condition."""

    condition: int
    start: int
    stop: int


@dataclass(frozen=True)
class Chunk:
    """Work of one task, written as one part: a few items of about equal predicted cost in all."""

    index: int
    items: tuple[Item, ...]
    flop: float

    @property
    def n_draws(self) -> int:
        return sum(item.stop - item.start for item in self.items)


@dataclass(frozen=True)
class Estimate:
    """What a study will take; `n_bytes` on disk is rough, `flop` a prediction.

    A study that asks for a precision takes at least this, and `most_draws` at most.
    """

    n_conditions: int
    n_draws: int
    n_chunks: int
    n_bytes: int
    flop: float
    longest_flop: float
    most_draws: int

    def seconds(self, flops_per_second: float, n_workers: int | None = None) -> float:
        """Predicted duration where each worker (None: one a core) computes at this rate."""
        shared = self.flop / (thread_count() if n_workers is None else n_workers)
        return max(shared, self.longest_flop) / flops_per_second


def conditions(study: Study) -> list[PlannedCondition]:
    """The conditions of a study, each once, numbered in order of first appearance.

    Examples
    --------
    >>> import vgcore as vg
    >>> from vgcore.study.plan import conditions
    >>> len(conditions(vg.load_study("smoke")))
    30
    """
    n_draws: dict[Condition, int] = {}
    slices: dict[Condition, list[str]] = {}
    rules: dict[Condition, list[Precision]] = {}
    for part in study.slices:
        for condition in part.points(study.defaults):
            n_draws[condition] = max(n_draws.get(condition, 0), study.draws_of(part))
            slices.setdefault(condition, []).append(part.name)
            own, rule = rules.setdefault(condition, []), study.precision_of(part)
            if rule is not None and rule not in own:
                own.append(rule)
    return [
        PlannedCondition(i, condition, n_draws[condition], tuple(names), tuple(rules[condition]))
        for i, (condition, names) in enumerate(slices.items())
    ]


def conditions_table(study: Study) -> pd.DataFrame:
    """One row a condition: `condition`, then a column for each factor (`law` as JSON text).

    `cell` and `remedy` are names with their keywords. `spectral_radius`, `gain` and
    `input_variance` are NaN where they are not what fixes the scale.
    """
    import pandas as pd

    found = conditions(study)
    columns: dict[str, object] = {"condition": [c.index for c in found]}
    for name in FACTORS:
        values = [getattr(c.condition, name) for c in found]
        if name in ("spectral_radius", "gain", "input_variance"):
            values = [float("nan") if value is None else value for value in values]
        elif name in ("cell", "remedy"):
            values = [value.label for value in values]
        elif name == "law":
            values = [json.dumps(dict(value), sort_keys=True) for value in values]
        columns[name] = values
    return pd.DataFrame(columns)


def slices_table(study: Study) -> pd.DataFrame:
    """One row a slice and condition: `slice`, `condition`; slices in the order of the study."""
    import pandas as pd

    members = [(name, c.index) for c in conditions(study) for name in c.slices]
    rank = {part.name: i for i, part in enumerate(study.slices)}
    members.sort(key=lambda member: (rank[member[0]], member[1]))
    return pd.DataFrame(members, columns=["slice", "condition"])


def glossary(study: Study) -> dict[str, str]:
    """A sentence with its source on each cell, remedy and initializer of a study."""
    from vgcore.initializers import INITIALIZERS

    said: dict[str, str] = {}
    for planned in conditions(study):
        c = planned.condition
        said.setdefault(f"cell {c.cell.label}", c.cell.description)
        said.setdefault(f"remedy {c.remedy.label}", c.remedy.description)
        said.setdefault(f"init {c.init}", INITIALIZERS[c.init].description)
    return dict(sorted(said.items()))


def draw_flop(condition: Condition) -> float:
    """Predicted cost of one draw, in operations of which a core does `CORE_FLOPS`."""
    c = condition.treated
    N, weight = c.n_hidden, c.cell.arithmetic()
    steps = c.n_trajectories * (2 * c.n_steps + c.burn_in)
    # A step costs 17 ns beside its arithmetic, a draw 8 us to set up: 420 and 200,000 operations.
    own = steps * weight * (2 * N * N + 420) + 200_000
    extra = c.n_trajectories * c.remedy.flop(c.cell, N, c.n_steps)
    return own + extra + numbers_flop(condition)


def numbers_flop(condition: Condition) -> float:
    """The part of `draw_flop` that conditions share: random numbers, and the spectral radius."""
    # A matrix entry or an input takes 4 ns to draw, 100 operations.
    c = condition.treated
    N = c.n_hidden
    numbers = N * N * _n_blocks(c) + (_n_inputs(c) if c.driven else 0)
    return 20 * N**3 * _n_blocks(c) + 100 * numbers


def draw_bytes(condition: Condition) -> int:
    """Memory that one draw takes while it is measured."""
    c = condition.treated
    profiles = c.n_trajectories * (c.n_steps + 1) * 16
    return c.n_hidden**2 * 8 * _n_blocks(c) + _n_inputs(c) * 8 + profiles


def scratch_bytes(condition: Condition) -> int:
    """Memory for what the draws carried side by side keep of each step."""
    c = condition.treated
    *_, kept = rows_of(c.cell.makes, c.n_hidden, np.dtype(c.dtype), c.n_trajectories, c.n_steps)
    return c.n_steps * kept


def _n_blocks(treated: Condition) -> int:
    return treated.cell.n_blocks(treated.n_steps)


def _n_inputs(treated: Condition) -> int:
    """Number of input values of one draw."""
    return treated.n_trajectories * (treated.burn_in + treated.n_steps) * treated.n_inputs


def chunks(study: Study) -> list[Chunk]:
    """The work of a study, conditions that share their random numbers side by side.

    Where a precision is asked for, this is the first round; `vgcore.study.sequential` has the next.

    Raises
    ------
    StudyError
        A single draw would take more than 4 GiB of memory, or the whole more than a million chunks.
    """
    found = conditions(study)
    total = sum(draw_flop(c.condition) * c.most_draws for c in found)
    if total > MAX_CHUNKS * CHUNK_FLOP:
        raise StudyError(
            f"study {study.name!r}: found about {total:.2g} floating-point operations, expected at "
            f"most {MAX_CHUNKS * CHUNK_FLOP:.2g} for one results folder; split it into several"
        )
    return cut(found)


def cut(found: list[PlannedCondition], first: int = 0) -> list[Chunk]:
    """Chunks of the planned draws of some conditions, numbered from `first`."""
    made: list[Chunk] = []
    items: list[Item] = []
    spent, n_draws = 0.0, 0
    for group in _groups(found):
        for block, flop in _blocks(group):
            draws = sum(item.stop - item.start for item in block)
            if items and (spent + flop > CHUNK_FLOP or n_draws + draws > CHUNK_DRAWS):
                made.append(Chunk(first + len(made), tuple(items), spent))
                items, spent, n_draws = [], 0.0, 0
            items += block
            spent += flop
            n_draws += draws
    made.append(Chunk(first + len(made), tuple(items), spent))
    return made


def _groups(found: list[PlannedCondition]) -> list[list[PlannedCondition]]:
    """Conditions that share their draws and inputs; those of one law stand together."""
    groups: dict[object, dict[str, list[PlannedCondition]]] = {}
    for planned in found:
        c = planned.condition.treated
        shared = *(getattr(c, name) for name in SIZES), c.burn_in + c.n_steps, planned.start
        groups.setdefault(shared, {}).setdefault(_law(planned), []).append(planned)
    return [[c for law in laws.values() for c in law] for laws in groups.values()]


def _law(planned: PlannedCondition) -> str:
    """What conditions that share their matrices have in common."""
    treated = planned.condition.treated
    return repr((treated.recurrent_law, _n_blocks(treated)))


def _blocks(group: list[PlannedCondition]) -> Iterator[tuple[list[Item], float]]:
    """The same few draws of several conditions, so that their random numbers are drawn once.

    A block costs at most a chunk and an item takes at most its memory. Then come the next draws of
    the same conditions, and after all draws the next conditions.
    """
    n_runs = max(1, round(len(group) / SHARING))
    length = -(-len(group) // n_runs)
    step = min(_step(planned, length) for planned in group)
    run: list[PlannedCondition] = []
    spent = 0.0
    for planned in group:
        flop = step * _flop_after(planned, run)
        full = len(run) == length or (len(run) + 1) * step > CHUNK_DRAWS
        if run and (full or spent + flop > CHUNK_FLOP):
            yield from _cut(run, step)
            run, spent = [], 0.0
            flop = step * draw_flop(planned.condition)
        run.append(planned)
        spent += flop
    yield from _cut(run, step)


def _flop_after(planned: PlannedCondition, before: list[PlannedCondition]) -> float:
    """Predicted cost of one draw where the same draw of the conditions before has been measured."""
    c = planned.condition
    if before and _law(planned) == _law(before[-1]):
        return draw_flop(c) - numbers_flop(c)
    return draw_flop(c)


def _step(planned: PlannedCondition, n_sharing: int) -> int:
    """Draws of one item: few enough that several conditions fit into a chunk."""
    c = planned.condition
    size, scratch = draw_bytes(c), scratch_bytes(c)
    if size + scratch > DRAW_BYTES:
        raise StudyError(
            f"condition {planned.index} (slice {planned.slices[0]}): one draw takes "
            f"{(size + scratch) / 2**30:.1f} GiB of memory, expected at most "
            f"{DRAW_BYTES / 2**30:.0f}; lower "
            "n_trajectories, n_steps, burn_in or n_inputs"
        )
    grain = GRAIN if c.n_hidden <= GRAIN_HIDDEN else 1
    flop, shared = draw_flop(c), numbers_flop(c)
    sharing = CHUNK_FLOP / ((flop - shared) * n_sharing + shared)
    most = min(CHUNK_FLOP / flop, max(sharing, grain), ITEM_BYTES // size, CHUNK_DRAWS)
    return max(1, int(most) // grain * grain if most >= grain else int(most))


def _cut(run: list[PlannedCondition], step: int) -> Iterator[tuple[list[Item], float]]:
    """Blocks of `step` draws of each condition of a run, and what each costs."""
    for start in range(run[0].start, max(planned.n_draws for planned in run), step):
        items: list[Item] = []
        taken: list[PlannedCondition] = []
        flop = 0.0
        for planned in run:
            stop = min(start + step, planned.n_draws)
            if start < stop:
                flop += (stop - start) * _flop_after(planned, taken)
                items.append(Item(planned.index, start, stop))
                taken.append(planned)
        yield items, flop


def share(plan: Sequence[Chunk], index: int, number: int) -> list[int]:
    """Chunks of one of `number` shares of about equal predicted cost, `index` from 1.

    The costliest chunk left goes to the share with the least so far.
    """
    loads = [(0.0, i) for i in range(number)]
    mine = []
    for chunk in sorted(plan, key=lambda chunk: -chunk.flop):
        load, i = heapq.heappop(loads)
        heapq.heappush(loads, (load + chunk.flop, i))
        if i == index - 1:
            mine.append(chunk.index)
    return sorted(mine)


def cost(chunks: Sequence[Chunk], seconds: Mapping[int, float]) -> dict[str, float | None] | None:
    """Predicted beside measured cost of the chunks that were measured; None where none was.

    Returns
    -------
    dict
        ``chunks``, how many; ``predicted_seconds`` of one core, and ``seconds`` that they took;
        ``ratio`` of the second to the first, of the whole and of the chunks (``ratio_q05``,
        ``ratio_median``, ``ratio_q95``); ``r2``, the share of the variance of the chunks' seconds
        that a constant times the prediction explains (None where all are alike).

    Examples
    --------
    >>> found = cost([Chunk(0, (), CORE_FLOPS), Chunk(1, (), 2 * CORE_FLOPS)], {0: 1.0, 1: 2.2})
    >>> found["predicted_seconds"], found["seconds"], round(found["ratio"], 2)
    (3.0, 3.2, 1.07)
    """
    if not seconds:
        return None
    measured = sorted(seconds)  # the order in which they came would move the last digit
    predicted = np.array([chunks[i].flop / CORE_FLOPS for i in measured])
    took = np.array([seconds[i] for i in measured], float)
    ratios = took / predicted
    low, middle, high = np.quantile(ratios, (0.05, 0.5, 0.95))
    spread = ((took - took.mean()) ** 2).sum()
    rest = ((took - predicted * (took @ predicted) / (predicted @ predicted)) ** 2).sum()
    found = {
        "predicted_seconds": predicted.sum(),
        "seconds": took.sum(),
        "ratio": took.sum() / predicted.sum(),
        "ratio_q05": low,
        "ratio_median": middle,
        "ratio_q95": high,
        "r2": 1 - rest / spread if spread else None,
    }
    rounded = {name: None if v is None else float(f"{v:.4g}") for name, v in found.items()}
    return {"chunks": len(took), **rounded}


def estimate(study: Study, shard: tuple[int, int] | None = None) -> Estimate:
    """What a study, or the i-th of n shares of it, will take, without running any of it.

    Examples
    --------
    >>> import vgcore as vg
    >>> from vgcore.study.plan import estimate
    >>> estimate(vg.load_study("smoke")).n_draws
    600
    """
    found, work = conditions(study), chunks(study)
    if shard is not None:
        work = [work[index] for index in share(work, *shard)]
    drawn: Counter[int] = Counter()
    for chunk in work:
        for index, start, stop in chunk.items:
            drawn[index] += stop - start
    lags = sum(
        n * min(study.measure.n_lags, found[index].condition.n_steps + 1)
        for index, n in drawn.items()
    )
    n_draws = drawn.total()
    return Estimate(
        n_conditions=len(drawn),
        n_draws=n_draws,
        n_chunks=len(work),
        n_bytes=n_draws * DRAW_ROW_BYTES + lags * PROFILE_ROW_BYTES,
        flop=sum(chunk.flop for chunk in work),
        longest_flop=max((chunk.flop for chunk in work), default=0.0),
        most_draws=n_draws if shard else sum(c.most_draws for c in found),
    )
