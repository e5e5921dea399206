"""The command line in real processes: output, exit codes, files, and no traceback ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import typer

import vgcore as vg
from vgcore import cli

LONG = """
name = "long"
n_draws = 3000
[defaults]
n_steps = 400
[[slice]]
name = "one"
[slice.grid]
spectral_radius = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
"""


def vgcore(*arguments, cwd, code=0):
    """Run the command and return what it printed; the exit code must be `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "vgcore", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A folder in which `vgcore run smoke` was run."""
    folder = tmp_path_factory.mktemp("cli")
    vgcore("run", "smoke", cwd=folder)
    return folder


def test_help_names_every_verb(tmp_path):
    text = vgcore("--help", cwd=tmp_path)
    for verb in ("run", "report", "replay", "merge", "demo", "bench", "selftest", "studies", "env"):
        assert verb in text
        assert "Usage" in vgcore(verb, "--help", cwd=tmp_path)


def test_version_is_the_package_version(tmp_path):
    assert vgcore("--version", cwd=tmp_path).split() == ["vgcore", vg.__version__]


def test_run_leaves_everything_the_readme_names(smoke):
    folder = smoke / "reports" / "smoke"
    for name in ("report.html", "report.md", "summary.csv", "manifest.json", "study.toml"):
        assert (folder / name).stat().st_size > 0
    for name in ("figures", "draws", "profiles"):
        assert any((folder / name).iterdir())
    assert len(vg.load_results(folder).draws) == 600


def test_a_second_run_measures_nothing_again(smoke):
    folder = smoke / "reports" / "smoke"
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/*.parquet")}
    vgcore("run", "smoke", "--no-report", cwd=smoke)
    assert before == {p: p.stat().st_mtime_ns for p in folder.glob("*/*.parquet")}


def test_report_goes_where_it_is_asked_to(smoke, tmp_path):
    printed = json.loads(
        vgcore("report", smoke / "reports" / "smoke", "--out", tmp_path / "r", "--json", cwd=smoke)
    )
    assert printed["draws"] == 600
    assert (tmp_path / "r" / "report.html").exists()


def test_dry_run_states_the_plan_and_writes_nothing(tmp_path):
    planned = json.loads(vgcore("run", "smoke", "--dry-run", "--json", cwd=tmp_path))
    assert planned["conditions"] == 30
    assert planned["draws"] == 600
    assert planned["bytes"] > 0
    assert planned["seconds"] >= 0
    assert "30 conditions" in vgcore("run", "smoke", "--dry-run", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_studies_are_listed_and_shown(tmp_path):
    listed = {row["study"]: row for row in json.loads(vgcore("studies", "--json", cwd=tmp_path))}
    assert listed["atlas"]["draws"] >= 30_000
    assert listed["atlas-full"]["draws"] == 10 * listed["atlas"]["draws"]
    text = vgcore("studies", "show", "smoke", cwd=tmp_path)
    (tmp_path / "copy.toml").write_text(text)
    assert vg.load_study(tmp_path / "copy.toml").digest == vg.load_study("smoke").digest
    assert json.loads(vgcore("studies", "show", "smoke", "--json", cwd=tmp_path))["name"] == "smoke"


def test_env_names_versions_and_processor(tmp_path):
    found = json.loads(vgcore("env", "--json", cwd=tmp_path))
    assert found["vgcore"] == vg.__version__
    assert found["threads"] >= 1
    assert "numba" in vgcore("env", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "atlass"], 2, "did you mean 'atlas'"),
        (["run", "imapcts"], 2, "did you mean 'impacts'"),
        (["studies", "show", "impacts"], 2, "`vgcore run impacts` measures it"),
        (["run", "missing.toml"], 2, "no such file"),
        (["run", "broken.toml"], 2, "line 1"),
        (["run", "typo.toml"], 2, "did you mean 'spectral_radius'"),
        (["run", "smoke", "--workers", "0"], 2, "workers"),
        (["run", "smoke", "--frobnicate"], 2, "frobnicate"),
        (["run"], 2, "STUDY"),
        (["selftest", "--only", "elementry"], 2, "did you mean 'elementary functions'"),
        (["selftest", "--seed", "-1"], 2, "seed"),
        (["run", "smoke", "--engine", "threads", "--dry-run"], 2, "valid: dask, local, process"),
        (["run", "smoke", "--scheduler", "tcp://a:1", "--workers", "2"], 2, "workers of its own"),
        (["replay", "a", "--against", "b", "--workers", "2"], 2, "--workers: --against measures"),
        (["bench", "--from", "run.json", "--only", "a"], 2, "--only: --from shows a run"),
        (["bench", "--full", "--size", "smoke"], 2, "--size: --full is a size"),
        (["report", "nowhere"], 1, "no such folder"),
        (["report", "."], 1, "manifest.json"),
        (["run", "smoke", "--out", "broken.toml"], 1, "broken.toml"),
        (["run", "impacts", "--out", "broken.toml"], 1, "is a file, expected a folder"),
        (["run", "papers", "--out", "broken.toml"], 1, "is a file, expected a folder"),
        (["demo", "--out", "broken.toml"], 1, "is a file, expected a folder"),
    ],
)
def test_faults_are_one_clear_message_and_an_exit_code(tmp_path, arguments, code, text):
    (tmp_path / "broken.toml").write_text("name = = 3")
    (tmp_path / "typo.toml").write_text(
        'name = "typo"\n[[slice]]\nname = "a"\n[slice.grid]\nspectral_raduis = [0.9]\n'
    )
    assert text in vgcore(*arguments, cwd=tmp_path, code=code)


# What `vgcore run STUDY` does with each of its options; `--verify DIR` stands for a study here.
OPTIONS = {
    "--out": ["there"],
    "--workers": ["2"],
    "--engine": ["process"],
    "--scheduler": ["tcp://a:1"],
    "--shard": ["1/2"],
    "--dry-run": [],
    "--only": ["digits"],
    "--seed": ["1"],
    "--no-report": [],
    "--json-progress": [],
}
REFUSED = {
    "smoke": {"--only", "--seed"},
    "demo": {"--only", "--seed"},
    "papers": {"--engine", "--scheduler", "--shard", "--only", "--workers", "--no-report"},
    "impacts": {"--engine", "--scheduler", "--shard"},
    "impacts-full": {"--engine", "--scheduler", "--shard"},
    "--verify=there": set(OPTIONS),
}


def test_every_option_of_run_is_thought_of():
    known = {name for one in typer.main.get_command(cli.app).commands["run"].params
             for name in (*one.opts, *one.secondary_opts)}  # fmt: skip
    assert known == {*OPTIONS, "study", "--report", "--verify", "--json"}


@pytest.mark.parametrize("study", REFUSED)
def test_no_option_is_passed_over_in_silence(study, monkeypatch, capsys):
    used = []

    def measured(*arguments, progress, **options):
        used.append((arguments, progress._style, options))
        return SimpleNamespace(complete=True)

    monkeypatch.setattr("vgcore.study.run_study", measured)
    monkeypatch.setattr("vgcore.study.measure.flops_per_second", lambda: 1e9)
    for name in ("_run_papers", "_run_impacts", "_verify", "_print_estimate", "_write_report"):
        monkeypatch.setattr(cli, name, lambda *given, name=name: used.append((name, given)))
    monkeypatch.setattr(cli, "_print_outcome", lambda *_: None)

    def run(*options):
        used.clear()
        cli.app(["run", study, *options], standalone_mode=False)
        return str(used)

    plain = run()
    assert plain != "[]"
    for option, value in OPTIONS.items():
        if option not in REFUSED[study]:
            assert run(option, *value) != plain
            continue
        with pytest.raises(SystemExit) as ended:
            run(option, *value)
        assert ended.value.code == 2
        assert not used
        assert f"error: {option}: " in capsys.readouterr().err


def test_another_studys_folder_is_refused_and_left_alone(smoke, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(
        'name = "other"\nn_draws = 3\n[[slice]]\nname = "a"\n[slice.grid]\ngain = [1.0]\n'
    )
    folder = smoke / "reports" / "smoke"
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    message = vgcore("run", other, "--out", folder, cwd=smoke, code=1)
    assert "smoke" in message
    assert "--out" in message
    assert before == sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured_and_the_next_run_goes_on(tmp_path):
    (tmp_path / "long.toml").write_text(LONG)
    command = [sys.executable, "-m", "vgcore", "run", "long.toml", "--no-report", "--workers", "1"]
    run = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that runs the tests in the background makes them ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    parts = tmp_path / "reports" / "long" / "draws"
    deadline = time.monotonic() + 120
    while not (parts.exists() and any(parts.glob("part-*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=120)
    assert "Traceback" not in stderr
    assert run.returncode == 130
    assert "goes on from there" in stderr
    stored = {p: p.stat().st_mtime_ns for p in parts.glob("part-*")}
    assert stored
    vgcore("run", "long.toml", "--no-report", cwd=tmp_path)
    assert all(p.stat().st_mtime_ns == time_ns for p, time_ns in stored.items())
    undisturbed = vg.run_study(tmp_path / "long.toml", tmp_path / "again", progress=False)
    resumed = vg.load_results(tmp_path / "reports" / "long")
    pd.testing.assert_frame_equal(resumed.draws, undisturbed.draws, check_exact=True)
    pd.testing.assert_frame_equal(resumed.profiles, undisturbed.profiles, check_exact=True)


def test_import_is_light():
    """Nothing heavy is imported, let alone compiled, before it is used."""
    code = "import sys, vgcore; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    heavy = {"numba", "pandas", "matplotlib", "scipy", "pyarrow", "dask", "torch", "rich"}
    assert heavy.isdisjoint(done.stdout.split())


def test_every_public_name_can_be_had_and_has_a_docstring():
    for name in vg.__all__:
        value = getattr(vg, name)
        assert name == "__version__" or (value.__doc__ or "").strip()
    with pytest.raises(AttributeError, match="no attribute 'gradient_profil'"):
        _ = vg.gradient_profil


def test_replay_says_whether_the_values_are_the_same(smoke):
    folder = smoke / "reports" / "smoke"
    said = vgcore("replay", folder, cwd=smoke)
    assert "values are identical to the bit" in said
    assert "finished run" in vgcore("replay", folder, cwd=smoke, code=1)

    changed = smoke / "reports" / "smoke-replay" / "summary.csv"
    table = pd.read_csv(changed)
    table.loc[0, "horizon"] += 1
    table.to_csv(changed, index=False)
    arguments = ("replay", folder, "--against", changed.parent)
    done = subprocess.run(
        [sys.executable, "-m", "vgcore", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["same"]) == (1, False)
    assert {t["table"]: t["different"] for t in found["tables"] if t["different"]} == {
        "summary.csv": 1
    }
