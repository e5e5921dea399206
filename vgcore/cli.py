"""The command line: each verb parses, calls the library, prints, and returns an exit code.

0: done; 1: a check failed or the machine refused (a full disk, say); 2: usage; 130: interrupted.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from vgcore.bench.compare import Change
    from vgcore.replay import Replay
    from vgcore.selftest import Row
    from vgcore.study.plan import Estimate
    from vgcore.study.progress import Style
    from vgcore.study.store import Results


class _Verbs(TyperGroup):
    """The verbs, with faults turned into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from vgcore.errors import StoreError, StudyInterrupted, WorkerError

        try:
            return super().invoke(ctx)
        except StudyInterrupted as stop:
            _fail(str(stop), 130)
        except KeyboardInterrupt as stop:
            print(str(stop) or "interrupted", file=sys.stderr, flush=True)
            os._exit(130)  # at once: an orderly exit would wait for the threads; parts are atomic
        except BrokenPipeError:
            raise  # the reader of our output has gone; nothing to say
        except (ValueError, TypeError) as error:
            _fail(f"error: {error}", 2, error)
        except (StoreError, WorkerError, OSError, FloatingPointError) as error:
            _fail(f"error: {error}", 1, error)
        except MemoryError as error:
            _fail(f"error: not enough memory ({error}); choose smaller sizes", 1, error)


app = typer.Typer(
    cls=_Verbs,
    help="Measure how gradients vanish and explode in recurrent networks.",
    epilog="To begin: `vgcore demo` takes seconds once its kernels are compiled, `vgcore studies` "
    "lists what ships, `vgcore run smoke` measures a tiny study.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
studies_app = typer.Typer(help="Studies that ship with vgcore.", rich_markup_mode=None)
app.add_typer(studies_app, name="studies", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Name of a shipped study, or path of a TOML file.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Threads; all cores by default. No number depends on it.", min=1)
]


def _version(wanted: bool) -> None:
    if wanted:
        from vgcore import __version__

        print(f"vgcore {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY",
            help="Name of a shipped study, or path of a TOML file; or: papers, impacts, "
            "impacts-full.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. [default: reports/NAME]")
    ] = None,
    workers: Workers = None,
    engine: Annotated[
        str | None, typer.Option(help="local (threads), process or dask. [default: local]")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, tcp://HOST:PORT.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Measure share I of N; see: vgcore merge.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be measured, and stop.")
    ] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check every part of a results folder.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPERIMENT", help="Of impacts: this one alone; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of impacts and papers, 0 by default; a study file has its own.", min=0),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report at the end.")] = True,
    json_progress: Annotated[
        bool, typer.Option("--json-progress", help="Progress as JSON lines on standard error.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a study and write its report.

    The same command goes on where a run was stopped. `run papers` measures the scoreboard of
    papers: one row a claim of the literature. `run impacts` trains nets, and measures what
    vanishing gradients do to learning; `impacts-full` takes hours.
    """
    from vgcore.study.config import IMPACTS, WITHOUT_FILE

    elsewhere = {"--engine": engine, "--scheduler": scheduler, "--shard": shard}
    if verify is not None:
        if study is not None:
            raise ValueError("--verify takes a folder and no STUDY; drop the one or the other")
        _refuse(
            {"--out": out, "--workers": workers, **elsewhere, "--dry-run": dry_run,
             "--only": only, "--seed": seed is not None, "--no-report": not report,
             "--json-progress": json_progress},
            "--verify checks a folder and measures nothing",
        )  # fmt: skip
        _verify(verify, as_json)
        return
    if study is None:
        raise ValueError("missing argument STUDY; `vgcore studies` lists those that ship")
    other = [f"seed-{seed}"] if seed else []  # of a folder beside that of the usual seed, 0
    style: Style = "json" if json_progress else "off" if as_json else "auto"
    if study in WITHOUT_FILE:
        _refuse(elsewhere, f"{study} runs on threads of this process")
    if study not in IMPACTS:
        _refuse({"--only": only}, f"{study} has no experiments")
    if study == "papers":
        _refuse({"--no-report": not report}, "papers measures for its report alone")
        _refuse({"--workers": workers}, "papers has the threads that VGCORE_NUM_THREADS says")
        folder = out or Path("reports") / "-".join(["papers", *other])
        _run_papers(folder, seed or 0, style, dry_run, as_json)
        return
    if study in IMPACTS:
        chosen = list(dict.fromkeys(only or ()))
        folder = out or Path("reports") / "-".join([study, *chosen, *other])
        _run_impacts(study, folder, seed or 0, workers, chosen, report, style, dry_run, as_json)
        return
    _refuse({"--seed": seed is not None}, f"the seed of {study} is a key of its file")
    from vgcore import checks
    from vgcore.study import Progress, load_study, run_study
    from vgcore.study.engines import ENGINES, known_shard
    from vgcore.study.plan import estimate

    engine = checks.choice("--engine", engine or ("dask" if scheduler else "local"), ENGINES)
    if scheduler is not None:
        if engine != "dask":
            raise ValueError(f"--scheduler: found with --engine {engine}, expected dask")
        _refuse({"--workers": workers}, f"the cluster at {scheduler} has workers of its own")
    loaded = load_study(study)
    name, part = loaded.name, known_shard(loaded, shard)
    if part is not None:
        name += "-{}-of-{}".format(*part)
    folder = out or Path("reports") / name
    if dry_run:
        from vgcore.study.measure import flops_per_second

        planned = estimate(loaded, part)
        _notes()("measuring the speed of a core, for which kernels may be compiled")
        seconds = planned.seconds(flops_per_second(), workers)
        _print_estimate(loaded.name, folder, planned, seconds, as_json)
        return
    results = run_study(
        loaded,
        folder,
        engine=engine,
        n_workers=workers,
        scheduler=scheduler,
        shard=part,
        progress=Progress(style),
    )
    page = None
    if report and results.complete:
        page = _write_report(results, folder)
    _print_outcome(folder, page, results, as_json)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Refuse the options that were given: none is passed over in silence."""
    given = [name for name, value in options.items() if value not in (None, False, [])]
    if given:
        raise ValueError(f"{', '.join(given)}: {why}; drop it")


def _verify(folder: Path, as_json: bool) -> None:
    """Say what each part of a folder is, one line a fault; 1 if a part is damaged."""
    from collections import Counter

    from vgcore.study import verify

    findings = list(verify(folder))
    counts = Counter(finding.state for finding in findings)
    if as_json:
        _print_json(
            {
                "out": str(folder),
                "ok": not counts["damaged"],
                "complete": counts["ok"] == len(findings),
                "counts": dict(counts),
                "parts": [finding.to_dict() for finding in findings],
            }
        )
    else:
        for finding in findings:
            if finding.state in ("damaged", "unlisted"):
                print(f"part {finding.part}: {finding.state}: {finding.text}")
        states = ", ".join(f"{n} {state}" for state, n in counts.items())
        print(f"{len(findings)} parts in {folder}: {states}")
    if counts["damaged"]:
        raise typer.Exit(1)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of shards.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the whole. [default: reports/NAME]")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report if nothing is missing.")] = True,
    as_json: Json = False,
) -> None:
    """Put shards of a study together.

    Shards are what `vgcore run --shard` measured. The exit code is 1 if parts are missing.
    """
    from vgcore.study import load_results, merge

    folder = out or Path("reports") / load_results(folders[0]).study.name
    results = merge(folders, folder)
    page = _write_report(results, folder) if report and results.complete else None
    _print_outcome(folder, page, results, as_json)
    if not results.complete:
        raise typer.Exit(1)


def _run_papers(folder: Path, seed: int, style: Style, dry_run: bool, as_json: bool) -> None:
    """Measure the scoreboard; it is small, so it starts anew each time."""
    from vgcore import papers
    from vgcore.study.progress import Jobs

    if dry_run:
        rows = [{"claim": one.name, "paper": one.paper} for one in papers.CLAIMS.values()]
        if as_json:
            _print_json(rows)
            return
        for row in rows:
            print(f"{row['claim']:<24} {row['paper']}")
        print(f"{len(rows)} claims, written to {folder}; takes some minutes")
        return
    with Jobs(style) as progress:
        page = papers.run(folder, seed=seed, tell=progress.tell)
    if as_json:
        _print_json({"out": str(folder), "report": str(page), "claims": len(papers.CLAIMS)})
    else:
        print(f"{len(papers.CLAIMS)} claims in {folder}\nreport: {page}")


def _run_impacts(
    study: str,
    folder: Path,
    seed: int,
    workers: int | None,
    only: Sequence[str],
    report: bool,
    style: Style,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure what vanishing gradients do to learning."""
    from vgcore import checks, impacts
    from vgcore.study.progress import Jobs

    for name in only:
        checks.choice("--only", name, impacts.EXPERIMENTS)
    names = [name for name in impacts.EXPERIMENTS if name in only or not only]
    count = f"{len(names)} experiment{'s' * (len(names) != 1)}"
    if dry_run:
        time = "some six minutes" if study == "impacts" else "some four hours"
        takes = f"all take {time} on two free cores"
        lines = [*names, f"{count}, written to {folder}; {takes}"]
        print(json.dumps(names) if as_json else "\n".join(lines))
        return
    try:
        with Jobs(style) as progress:
            written = impacts.run(
                folder, study, seed=seed, n_threads=workers, only=only, report=report,
                tell=progress.tell,
            )  # fmt: skip
    except KeyboardInterrupt:
        kept = len(list((folder / "pieces").glob("*.parquet")))
        raise KeyboardInterrupt(
            f"interrupted: {kept} jobs are kept in {folder}; the same command goes on from there"
        ) from None
    if as_json:
        page = str(written) if report else None
        _print_json({"out": str(folder), "report": page, "experiments": len(names)})
    else:
        print(f"{count} in {folder}\n{'report' if report else 'table'}: {written}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study's results.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the report. [default: DIR]")] = None,
    as_json: Json = False,
) -> None:
    """Write the report of measured results.

    That is report.html, report.md, figures and tables (summary.csv, league.csv).
    """
    from vgcore.study import load_results

    results = load_results(folder)
    page = _write_report(results, out or folder)
    _print_outcome(folder, page, results, as_json)


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of what was measured.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the second run. [default: DIR-replay]")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Compare with this run; measures nothing.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Largest relative difference of values that still agree.")
    ] = 1e-6,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure again what DIR holds, and compare every value.

    DIR is what `vgcore run` or `vgcore demo` wrote. Where a value differs, the first run's interval
    and what differs in versions, processor and source are named, and the exit code is 1.
    """
    from vgcore import replay as replaying

    if against is not None:
        _refuse({"--out": out, "--workers": workers}, "--against measures nothing")
        found = replaying.compare(folder, against, tolerance=tolerance)
    else:
        beside = folder.resolve() if folder.name in ("", "..") else folder
        found = replaying.replay(
            folder,
            out or beside.with_name(f"{beside.name}-replay"),
            n_workers=workers,
            tolerance=tolerance,
            tell=None if as_json else lambda line: print(line, file=sys.stderr, flush=True),
        )
    if as_json:
        folders = {"first": str(found.first), "second": str(found.second)}
        found_all = dataclasses.asdict(found) | folders
        _print_json({"same": found.same, "verdict": found.verdict, **found_all})
    else:
        print("\n".join(_replay_lines(found)))
    if not found.same:
        raise typer.Exit(1)


def _replay_lines(found: Replay) -> list[str]:
    """Two runs compared: a line a table, the largest differences, what may have caused them."""
    counts = ("identical", "within", "different", "missing")
    heads = ("table", "identical", f"within {found.tolerance:g}", "different", "in one run only")
    rows: list[tuple[str, ...]] = [heads]
    rows += [(t.table, *(f"{getattr(t, name):,}" for name in counts)) for t in found.tables]
    lines = _aligned(rows, str.rjust)
    for one in found.tables:
        lines += [f"{one.table}: {example}" for example in one.examples]
    if found.origins:
        lines += [f"{key}: {first} -> {second}" for key, (first, second) in found.origins.items()]
    else:
        lines.append("versions, processor and source are the same")
    return [*lines, f"{found.first} and {found.second}: {found.verdict}"]


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of the first results.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of the second.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page and the table. [default: B/compare]")
    ] = None,
    noise: Annotated[
        float, typer.Option(help="Share of a rate below which a sure change is noise.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Say of each condition whether its rate improved or got worse from A to B.

    Writes compare.html and changes.csv. p-values are corrected over all conditions (Holm); the exit
    code is 1 if any got worse.
    """
    from vgcore import compare as comparing
    from vgcore.study import load_results

    found = comparing.compare(load_results(first), load_results(second), noise=noise)
    page = comparing.write_changes(found, out or second / "compare")
    if as_json:
        _print_json(comparing.plain(found))
    else:
        heads = ("condition", "change of the rate", "p (Holm)", "verdict")
        changed = found.table[found.table["verdict"] != "no change detected"]
        rows: list[tuple[str, ...]] = [
            (
                row["label"],
                f"{row['change']:+.4g} [{row['change_low']:+.4g}, {row['change_high']:+.4g}]",
                f"{row['p_holm']:.2g}",
                row["verdict"],
            )
            for row in changed.to_dict("records")
        ]
        print("\n".join([*(_aligned([heads, *rows], str.ljust) if rows else []), found.verdict]))
        for count, name in ((found.only_first, first), (found.only_second, second)):
            if count:
                print(f"{count} conditions are in {name} alone")
        print(f"page: {page}")
    if found.count("worse"):
        raise typer.Exit(1)


@studies_app.callback()
def studies(context: typer.Context, as_json: Json = False) -> None:
    """List the studies that ship with vgcore."""
    if context.invoked_subcommand is not None:
        return
    from vgcore.study import load_study
    from vgcore.study.config import shipped_studies
    from vgcore.study.plan import estimate

    rows = []
    for name in shipped_studies():
        found = load_study(name)
        planned = estimate(found)
        rows.append(
            {
                "study": name,
                "title": found.title,
                "conditions": planned.n_conditions,
                "draws": planned.n_draws,
            }
        )
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        print(
            f"{row['study']:<12} {row['conditions']:>5,} conditions {row['draws']:>9,} draws  "
            f"{row['title']}"
        )


@studies_app.command("show")
def show_study(study: StudyArgument, as_json: Json = False) -> None:
    """Print one study with all defaults filled in.

    It is TOML to copy from; comments say what its cells, laws and remedies are.
    """
    from vgcore.study import load_study
    from vgcore.study.plan import glossary

    loaded = load_study(study)
    if as_json:
        _print_json(loaded.resolved())
        return
    print(loaded.to_toml())
    for name, sentence in glossary(loaded).items():
        print(f"# {name}: {sentence}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of what is written.")] = Path("reports/demo"),
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure what the default cells of PyTorch remember.

    Prints a table and a paragraph, and writes a figure. Takes seconds once kernels are compiled.
    """
    from vgcore import demo as demonstration
    from vgcore.report.words import horizon_text, rate_text

    found = demonstration.run(out, n_workers=workers, progress=not as_json)
    if as_json:
        _print_json(json.loads((out / "decay.json").read_text()))
        return
    rows = [("cell", "steps to 1/1000", "rate, nats a step")]
    rows += [(r["series"], horizon_text(r), rate_text(r)) for r in found.table.to_dict("records")]
    print("\n".join(_aligned(rows, str.ljust)))
    print(f"\n{found.paragraph}\n\nfigure: {out / 'decay.png'}")


@app.command()
def selftest(
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)] = 0,
    only: Annotated[
        str, typer.Option(metavar="TEXT", help="Only checks with this in their name or area.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Check this installation against identities and laws.

    The exit code is 1 if a check fails. A right program fails with a chance below 1e-4 at any seed.
    """
    started = time.monotonic()
    from vgcore import selftest
    from vgcore.environment import thread_count

    wanted = selftest.select(only)
    width = max(len(one.name) for one in wanted)
    rows = []
    if not as_json:
        print(f"{'check':<{width}}  {'measured [95 % interval]':<30} {'expected':>10}  z or error")
    # two processes, since the first run of all checks compiles for a minute; more share no kernels
    for row in selftest.rows(seed, only, n_processes=1 if only else min(2, thread_count(None))):
        rows.append(row)
        if not as_json:  # row by row: the first of a kind waits for its kernels to be compiled
            print(_selftest_line(row, width), flush=True)
    failed = [row.check for row in rows if not row.passed]
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        _print_json(
            {
                "passed": not failed,
                "failed": failed,
                "seed": seed,
                "seconds": seconds,
                "checks": [_finite(dataclasses.asdict(r) | {"passed": r.passed}) for r in rows],
            }
        )
    else:
        print(f"{len(rows)} checks, {len(failed)} failed, in {seconds:g} s, seed {seed}")
        for name in failed:
            print(f"FAILED: {name}")
    if failed:
        raise typer.Exit(1)


def _selftest_line(row: Row, width: int) -> str:
    """One check as a line of the table."""
    shown = f"{row.measured:.5g}"
    if row.kind == "z":
        shown += f" [{row.low:.5g}, {row.high:.5g}]"
    verdict = "ok" if row.passed else "FAILED"
    score = f"{row.kind} {row.score:.2g} (limit {row.limit:.2g})"
    line = f"{row.check:<{width}}  {shown:<30} {row.expected:>10.5g}  {score:<28} {verdict}"
    return f"{line}  {row.fault}" if row.fault else line


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row for JSON, which has no name for nan and infinity."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


@app.command()
def env(as_json: Json = False) -> None:
    """Print versions, processor, threads and compile cache."""
    from vgcore.environment import describe

    found = describe()
    if as_json:
        _print_json(found)
        return
    width = max(map(len, found))
    for key, value in found.items():
        print(f"{key:<{width}}  {value}")


@app.command()
def bench(
    size: Annotated[
        str, typer.Option(help="minute, full (some 25 minutes) or smoke (times tell nothing).")
    ] = "minute",
    full: Annotated[bool, typer.Option("--full", help="The same as --size full.")] = False,
    only: Annotated[str | None, typer.Option(help="Name of one operation.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of each benchmark.", min=7)] = 7,
    out: Annotated[Path | None, typer.Option(help="File to keep the run in, JSON.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="File of an earlier run to compare with.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another checkout, timed in turns with this one.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--report", help="Folder to write tables and figures to.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="File of a run to show; measures nothing.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time vgcore beside NumPy, PyTorch and JAX.

    With --compare or --against the exit code is 1 if vgcore has become slower.
    """
    from vgcore.bench import compare as comparing
    from vgcore.bench import processes, record, suite, text
    from vgcore.bench.machine import machine
    from vgcore.bench.operations import table

    other = size != "minute"
    if full:
        _refuse({"--size": other and size != "full"}, "--full is a size")
    if source is not None:
        how = {"--full": full, "--size": other, "--only": only, "--rounds": rounds != 7}
        _refuse(how, "--from shows a run as it was measured")
    size = "full" if full else size
    if against is not None:
        given = {"--compare": compare, "--from": source, "--report": page, "--out": out}
        clash = ", ".join(option for option, value in given.items() if value is not None)
        if clash:
            raise ValueError(f"--against compares two checkouts by itself; drop {clash}")
        changes, absent = processes.against(against, size, only, rounds, _notes())
        _print_changes(changes, as_json)
        for line in absent:
            print(f"not compared: {line}", file=sys.stderr)
        _exit_if_slower(changes)
        return
    old = None if compare is None else record.load(compare)
    if old is not None and source is None:  # refused before anything is timed
        keys = [f"{operation.name} {case}" for operation, case in table(size, only)]
        comparing.check(old, str(compare), machine(), keys)
    for folder in (page, out and out.parent):  # a folder that cannot be made is found out first
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    measured = source is None
    found = (
        suite.measure(size, only=only, rounds=rounds, say=_notes())
        if source is None
        else record.load(source)
    )
    if out is not None:
        found.save(out)
    if as_json and old is None:
        _print_json(json.loads(found.table().to_json(orient="records")))
    elif old is None or measured:
        print("\n".join(text.report(found)), file=sys.stderr if as_json else sys.stdout)
    if page is not None:
        from vgcore.bench.page import write_page

        print(f"report: {write_page(found, page)}", file=sys.stderr if as_json else sys.stdout)
    if old is not None:
        changes = comparing.against_stored(found, old, str(compare))
        _print_changes(changes, as_json)
        _exit_if_slower(changes)


def _notes() -> Callable[[str], None]:
    """Return what says what is going on: each line on a terminal, elsewhere one in ten seconds."""
    from vgcore.study.progress import LINE_SECONDS, on_terminal

    said = time.monotonic()

    def note(line: str) -> None:
        nonlocal said
        if on_terminal() or time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return note


def _print_changes(changes: Sequence[Change], as_json: bool) -> None:
    from vgcore.bench import compare, text

    if as_json:
        rows = [{"benchmark": c.key, **c.time._asdict(), "verdict": c.verdict} for c in changes]
        _print_json({"changes": rows, "verdict": compare.summary(changes)})
        return
    print("\n".join(text.comparison(changes)))


def _exit_if_slower(changes: Sequence[Change]) -> None:
    if any(change.verdict == "slower" for change in changes):
        raise SystemExit(1)


def _write_report(results: Results, folder: Path) -> Path:
    """Write the report; where the disk refuses, say that the measurements are safe."""
    from vgcore.errors import StoreError
    from vgcore.report import write_report

    try:
        return write_report(results, folder)
    except OSError as error:
        raise StoreError(
            f"{folder}: the report cannot be written ({error.strerror}); what was measured is "
            f"safe. `vgcore report {results.folder} --out DIR` writes it elsewhere"
        ) from error


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _aligned(rows: Sequence[tuple[str, ...]], justify: Callable[[str, int], str]) -> list[str]:
    """Lines of a table: the first column to the left, the others as `justify` says."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust, *[justify] * (len(wide) - 1)]
    return [
        "  ".join(
            put(cell, width) for put, cell, width in zip(sides, row, wide, strict=True)
        ).rstrip()
        for row in rows
    ]


def _print_estimate(
    name: str, folder: Path, planned: Estimate, seconds: float, as_json: bool
) -> None:
    if as_json:
        _print_json(
            {
                "study": name,
                "out": str(folder),
                "conditions": planned.n_conditions,
                "draws": planned.n_draws,
                "most_draws": planned.most_draws,
                "parts": planned.n_chunks,
                "bytes": planned.n_bytes,
                "seconds": round(seconds, 1),
            }
        )
        return
    if planned.most_draws > planned.n_draws:
        most = f"{planned.most_draws:,}"
        print(f"the first round; draws until its precision is met, {most} draws at most")
    print(
        f"{name}: {planned.n_conditions:,} conditions, {planned.n_draws:,} draws in "
        f"{planned.n_chunks:,} part{'s' * (planned.n_chunks != 1)}\n"
        f"writes about {planned.n_bytes / 1e6:,.1f} MB to {folder}\n"
        f"takes about {max(seconds, 1.0):,.0f} s on this machine, its kernels once compiled"
    )


def _print_outcome(folder: Path, page: Path | None, results: Results, as_json: bool) -> None:
    from vgcore.report import league
    from vgcore.study.plan import conditions as planned_conditions

    done, total = len(results.manifest["parts"]), results.manifest["n_parts"]
    conditions, draws = len(results.conditions), results.n_draws
    cost = results.manifest.get("cost")
    planned = {one.index: one.condition for one in planned_conditions(results.study)}
    descends = any(condition.remedy.descends for condition in planned.values())
    diverged = league.diverged(results.draws, planned) if descends else []
    if as_json:
        _print_json(
            {
                "out": str(folder),
                "report": None if page is None else str(page),
                "conditions": conditions,
                "draws": draws,
                "parts_done": done,
                "parts": total,
                "cost": cost,
                "diverged": diverged,
            }
        )
        return
    print(f"{conditions:,} conditions, {draws:,} draws in {folder}")
    for line in diverged:
        print(line, file=sys.stderr)
    if cost is not None:
        line = f"{cost['seconds']:,.3g} s of a core, {cost['predicted_seconds']:,.3g} by plan"
        if cost["chunks"] < 20:
            line += ", which knows of no start and no compiling"
        else:
            line += "; most parts took {ratio_q05:.2g} to {ratio_q95:.2g} times theirs".format(
                **cost
            )
        print(line)
    if done < total:
        print(f"{done} of {total} parts; `vgcore merge` puts shards together")
    if page is not None:
        print(f"report: {page}")


def main() -> None:
    """Run the command line; what is not a user's to mend becomes one line too."""
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter is no fault
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}"
        _fail(f"{text}\nSet VGCORE_DEBUG=1 to see where, and please report it", 1, error)


def _print_warning(message: Warning | str, *_: object) -> None:
    """A warning as one line, without the source line it came from."""
    print(f"warning: {message}", file=sys.stderr)


def _fail(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    if error is not None and os.environ.get("VGCORE_DEBUG"):
        raise error
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
    print(message + notes, file=sys.stderr)
    raise SystemExit(code)
