"""How far a study is: a bar on a terminal, a line each ten seconds elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from vgcore.study.config import Study
from vgcore.study.plan import CORE_FLOPS, Chunk

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LINE_SECONDS = 10.0
JSON_SECONDS = 1.0


def on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


Style = Literal["auto", "json", "off"]


class Progress:
    """Counts what is measured and says so on standard error.

    Parameters
    ----------
    style
        "auto": a bar on a terminal, plain lines where there is none; "json": a JSON object a line,
        each second and at the end; "off": nothing.
    """

    def __init__(self, style: Style = "auto") -> None:
        self._style = style
        self._bar: Bar | None = None

    def start(
        self, study: Study, plan: Sequence[Chunk], done: Collection[int], share: Collection[int]
    ) -> None:
        """Begin: of the plan's chunks, those of `share` are to be measured and some are `done`."""
        self._left: Counter[int] = Counter()
        for index in share:
            for condition, start, stop in plan[index].items:
                self._left[condition] += stop - start
        self._n_conditions, self._n_draws = len(self._left), self._left.total()
        for index in done:
            if index in share:
                self._count(plan[index])
        self._before = self.draws_done
        self.flop, self.flop_done = sum(plan[i].flop for i in share if i not in done), 0.0
        self.core_seconds = 0.0
        self._per_worker: Counter[str] = Counter()
        self._stream: TextIO | None = None if self._style == "off" else sys.stderr
        self.seconds = 0.0
        self._begun = self._said = time.monotonic()
        if self._style == "auto" and on_terminal():
            self._bar = _bar()
            self._row = self._bar.add_task("", total=self._n_draws)
            self._bar.start()
            self._show()

    def extend(self, more: Sequence[Chunk], done: Collection[int]) -> None:
        """A round more, of which some is `done`."""
        for chunk in more:
            for condition, start, stop in chunk.items:
                self._left[condition] += stop - start
            self._n_draws += chunk.n_draws
            if chunk.index in done:
                self._count(chunk)
                self._before += chunk.n_draws
            else:
                self.flop += chunk.flop
        if self._bar is not None:
            self._bar.update(self._row, total=self._n_draws)

    @property
    def draws_done(self) -> int:
        return self._n_draws - self._left.total()

    def state(self) -> dict[str, Any]:
        """Everything there is to say, as `--json-progress` prints it."""
        measured, seconds = self.draws_done - self._before, self.seconds
        ahead = self.flop - self.flop_done
        return {
            "conditions_done": sum(not left for left in self._left.values()),
            "conditions": self._n_conditions,
            "draws_done": self.draws_done,
            "draws": self._n_draws,
            "seconds": round(seconds, 2),
            "draws_per_second": round(measured / seconds, 2) if seconds else None,
            # by predicted cost, since draws of large networks may come last
            "seconds_left": round(seconds * ahead / self.flop_done, 1) if self.flop_done else None,
            # of a core, by plan and as measured, of the chunks that this run has measured
            "predicted_core_seconds": round(self.flop_done / CORE_FLOPS, 3),
            "core_seconds": round(self.core_seconds, 3),
            "workers": {
                worker: {"draws": n, "draws_per_second": round(n / seconds, 2) if seconds else None}
                for worker, n in sorted(self._per_worker.items())
            },
        }

    def advance(self, chunk: Chunk, worker: str, seconds: float = 0.0) -> None:
        """A chunk has been measured, in so many seconds of a core, and stored."""
        self._count(chunk)
        self.core_seconds += seconds
        self.flop_done += chunk.flop
        if worker:
            self._per_worker[worker] += chunk.n_draws
        self.tick()

    def tick(self) -> None:
        """Speak if it is time to."""
        self.seconds = time.monotonic() - self._begun
        if self._bar is not None:
            self._show()
            return
        pause = JSON_SECONDS if self._style == "json" else LINE_SECONDS
        if self._stream is not None and time.monotonic() - self._said >= pause:
            self._say()

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._style == "json":
            self._say()

    def _count(self, chunk: Chunk) -> None:
        for index, start, stop in chunk.items:
            self._left[index] -= stop - start

    def _say(self) -> None:
        self._said = time.monotonic()
        if self._stream is not None:
            text = json.dumps(self.state()) if self._style == "json" else self._text()
            print(text, file=self._stream, flush=True)

    def _text(self) -> str:
        state = self.state()
        text = (
            f"{state['conditions_done']}/{state['conditions']} conditions  "
            f"{state['draws_done']:,}/{state['draws']:,} draws"
        )
        if state["draws_per_second"]:
            text += f"  {state['draws_per_second']:,.0f} draws/s"
        if not self.flop_done and self.flop:
            text += "  kernels are compiled the first time"
        if state["seconds_left"] is not None:
            text += f"  {_clock(state['seconds_left'])} left"
        if len(self._per_worker) > 1:
            speeds = " ".join(
                f"{name}:{one['draws_per_second']:,.0f}/s"
                for name, one in state["workers"].items()
                if one["draws_per_second"]
            )
            text += f"  [{speeds}]" if len(speeds) < 200 else f"  [{len(self._per_worker)} workers]"
        return text

    def _show(self) -> None:
        assert self._bar is not None
        self._bar.update(self._row, completed=self.draws_done, description=self._text())


class Jobs:
    """How many jobs of a run are done, in the styles of `Progress`."""

    def __init__(self, style: Style = "auto") -> None:
        self._style, self._bar = style, _bar() if style == "auto" and on_terminal() else None
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> Jobs:
        if self._bar is not None:
            self._row = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, done: int, jobs: int, name: str) -> None:
        """So many jobs are done, the last of this name."""
        now = time.monotonic()
        seconds, pause = now - self._begun, now - self._said
        text = f"{done}/{jobs} jobs  {_clock(seconds)}  {name}"
        if self._bar is not None:
            self._bar.update(self._row, completed=done, total=jobs, description=text)
        elif self._style == "json" and (pause >= JSON_SECONDS or done == jobs):
            self._said = now
            state = {"jobs_done": done, "jobs": jobs, "seconds": round(seconds, 2), "job": name}
            print(json.dumps(state), file=sys.stderr, flush=True)
        elif self._style == "auto" and (pause >= LINE_SECONDS or done == jobs):
            self._said = now
            print(text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
    )
