"""Sweeps through a real Slurm node: jobs and the run itself are killed, the node is drained, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import slurm_node
from cotrain_bench import slurm
from cotrain_bench.executors import executor
from cotrain_bench.results import CannotContinue, Cells, Row, read_results
from cotrain_bench.sweep import Claim, sweep
from rich.progress import Progress

pytestmark = pytest.mark.integration

CELLS, TOGETHER, SECONDS = 8, 3, 2.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Slurm node of this machine for the tests of this file."""
    if missing := slurm_node.missing():
        pytest.fail(
            f"these tests start a real Slurm node, and this machine lacks {', '.join(missing)}. `make integration` "
            "installs it where it may; elsewhere: apt-get install slurm-wlm munge"
        )
    with slurm_node.node(tmp_path_factory.mktemp("slurm")) as name:
        yield name


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine answers are not late."""
    monkeypatch.setattr(slurm, "LATE", 3.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where a job finds the work


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Starts a run in a process of its own."""
    made: list[BaseProcess] = []

    def started(run: Callable[..., object], *args: object) -> BaseProcess:
        made.append(multiprocessing.get_context("fork").Process(target=run, args=args))
        made[-1].start()
        return made[-1]

    yield started
    for process in made:
        process.kill()


def work(task: tuple[str, int, str], tick: Callable[[float], None]) -> Mapping[str, Any]:
    """Notes when a computation begins and ends, in files of its own, and takes some seconds."""
    folder, cell, what = task
    job = os.environ["SLURM_JOB_ID"]
    (Path(folder) / f"{cell} {job} {os.getpid()} began").touch()
    if what == "raises":
        raise ValueError("the policy diverged")
    for i in range(10):
        time.sleep(60.0 if what == "hangs" else SECONDS / 10)
        tick(i / 10)
    (Path(folder) / f"{cell} {job} {os.getpid()} ended").touch()
    return {"cell": cell, "square": cell**2}


def swept(folder: Path, cells: Mapping[int, str], settings: str = "partition=test") -> list[Row]:
    """The rows of a sweep through Slurm."""
    tasks = [({"cell": cell}, (str(folder), cell, what)) for cell, what in cells.items()]
    with Progress(disable=True) as bars, executor("slurm", TOGETHER, folder / "jobs", settings) as pool:
        return sweep(work, tasks, Cells(folder / "cells"), pool, bars)


def noted(folder: Path, what: str) -> list[tuple[int, str, int]]:
    """(cell, job, process) of the computations that began, or ended."""
    parts = (path.name.split() for path in folder.glob(f"* {what}"))
    return [(int(cell), job, int(process)) for cell, job, process, _ in parts]


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert condition()


def running() -> list[str]:
    return slurm_node.slurm("squeue", "--noheader", "--states=RUNNING,COMPLETING", "--format=%i").split()


def state_of(job: str) -> str:
    return slurm_node.slurm("squeue", "--noheader", "--jobs", job, "--format=%T", check=False).strip()


def test_a_killed_job_a_drained_node_and_a_killed_run_lose_nothing_and_compute_nothing_twice(
    node: str, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    cells = dict.fromkeys(range(CELLS), "")
    run = start(swept, tmp_path, cells)
    until(lambda: len(noted(tmp_path, "ended")) >= 2 and len(noted(tmp_path, "began")) > len(noted(tmp_path, "ended")))

    at_it = {cell for cell, _, _ in noted(tmp_path, "began")} - {cell for cell, _, _ in noted(tmp_path, "ended")}
    victim, job, process = max(at for at in noted(tmp_path, "began") if at[0] in at_it)
    os.kill(process, signal.SIGSTOP)  # so that it does not end while it is looked at
    assert state_of(job) == "RUNNING" and Claim(Cells(tmp_path / "cells").path({"cell": victim})).held()
    os.kill(process, signal.SIGKILL)
    slurm_node.slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    until(lambda: not running())
    began = noted(tmp_path, "began")
    time.sleep(2 * SECONDS)
    assert (
        noted(tmp_path, "began") == began
        and slurm_node.state(node) == "drained"
        and state_of(job) in ("", "COMPLETED", "FAILED")
    )
    assert run.is_alive()
    run.kill()

    slurm_node.slurm("scontrol", "update", f"nodename={node}", "state=resume")
    rows = swept(tmp_path, cells)
    assert [row["square"] for row in rows] == [cell**2 for cell in range(CELLS)]
    assert Counter(cell for cell, _, _ in noted(tmp_path, "ended")) == Counter(range(CELLS))
    assert Counter(cell for cell, _, _ in noted(tmp_path, "began")) == Counter([*range(CELLS), victim])
    assert sorted(path.suffix for path in (tmp_path / "cells").iterdir()) == [".json"] * CELLS


def test_a_cancelled_job_is_tried_again_and_a_failed_cell_names_its_reason(
    node: str, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:

    def jobs_of(cell: int) -> list[str]:
        return [job for at, job, _ in noted(tmp_path, "began") if at == cell]

    run = start(_kept, tmp_path, {0: "", 1: "raises", 2: "hangs"})
    for times in (1, 2):
        until(lambda times=times: len(jobs_of(2)) == times)
        slurm_node.slurm("scancel", *jobs_of(2))
    run.join(120)
    said = (tmp_path / "rows").read_text()
    assert "'square': 0" in said and "{'error': 'ValueError: the policy diverged'}" in said
    assert "2 workers died of it: Slurm job" in said and "CANCELLED" in said


def _kept(folder: Path, cells: Mapping[int, str]) -> None:
    (folder / "rows").write_text(str(swept(folder, cells)))


def test_ctrl_c_cancels_the_jobs(node: str, tmp_path: Path, start: Callable[..., BaseProcess]) -> None:
    run = start(swept, tmp_path, dict.fromkeys(range(8), "hangs"))
    until(lambda: len(noted(tmp_path, "began")) == TOGETHER)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGINT)
    run.join(60)
    until(lambda: not slurm_node.slurm("squeue", "--noheader").strip(), 30)


def test_a_job_that_runs_longer_than_its_time_fails_its_cell_with_the_remedy(node: str, tmp_path: Path) -> None:
    (row,) = swept(tmp_path, {0: "hangs"}, "partition=test,time=3")  # submitit is told 90 s before the end
    assert row["error"].startswith("TimeoutError: ") and row["error"].endswith("as in --slurm time=120.")


def test_what_slurm_refuses_is_one_sentence(node: str, tmp_path: Path) -> None:
    with pytest.raises(CannotContinue, match=r"Slurm did not take the jobs: .*Invalid partition name"):
        swept(tmp_path, {0: ""}, "partition=unknown")
    with pytest.raises(CannotContinue, match=r"--slurm takes .*partition.*; got 'colour'"):
        swept(tmp_path, {0: ""}, "colour=red")


def test_the_command_compares_methods_through_slurm(node: str, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("cotrain"), "bench", "sim2sim", "--preset", "smoke", "--out", "out"]
    command += ["--executor", "slurm", "--workers", "2", "--slurm", "partition=test,time=30"]
    environment = os.environ | {"COTRAIN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "out")["rows"]
    assert [row["method"] for row in rows] == ["real_only", "cotraining", "cfg_adda"]
    assert all("success" in row for row in rows) and (tmp_path / "out" / "report.html").exists()
    assert list((tmp_path / "out" / "jobs").glob("*.pkl")) == []
