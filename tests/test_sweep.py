"""A sweep computes each cell once, outlives failures and deaths, and shares its folder with other sweeps."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from cotrain_bench import claims
from cotrain_bench.claims import claim, held
from cotrain_bench.cli_errors import cli_errors
from cotrain_bench.executors import executor, processes
from cotrain_bench.results import CannotContinue, Cells
from cotrain_bench.sweep import sweep
from rich.progress import Progress


def counted(task, tick):
    """Notes the call, then does what the task says."""
    folder, seed, what = task
    with (Path(folder) / "calls").open("a") as file:
        file.write(f"{seed}\n")
    tick(0.5)
    if what == "raises":
        raise ValueError("the policy diverged")
    if what == "dies" or (what == "dies once" and calls(folder).count(seed) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"seed": seed, "square": seed**2}


def calls(folder):
    path = Path(folder) / "calls"
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def swept(folder, seeds, what=None, pool=None):
    tasks = [({"seed": seed}, (str(folder), seed, (what or {}).get(seed))) for seed in seeds]
    with Progress(disable=True) as bars, ThreadPoolExecutor(2) as threads:
        return sweep(counted, tasks, Cells(folder / "cells"), pool or threads, bars)


def test_rows_come_in_order_and_no_cell_is_computed_twice(tmp_path):
    assert [row["square"] for row in swept(tmp_path, [3, 1, 2])] == [9, 1, 4]
    assert [row["square"] for row in swept(tmp_path, [2, 4, 3])] == [4, 16, 9]
    assert calls(tmp_path) == [1, 2, 3, 4]
    assert sorted(path.suffix for path in (tmp_path / "cells").iterdir()) == [".json"] * 4


def test_a_cell_that_is_asked_for_twice_is_computed_once(tmp_path):
    assert [row["square"] for row in swept(tmp_path, [3, 3, 3])] == [9, 9, 9]
    assert calls(tmp_path) == [3]


def test_a_failed_cell_names_its_reason_stops_nothing_and_is_tried_again(tmp_path):
    rows = swept(tmp_path, [1, 2, 3], {2: "raises"})
    assert rows[1] == {"error": "ValueError: the policy diverged"} and [rows[0]["square"], rows[2]["square"]] == [1, 9]
    assert swept(tmp_path, [1, 2, 3])[1]["square"] == 4
    assert calls(tmp_path) == [1, 2, 2, 3]


def test_a_damaged_cell_is_computed_again(tmp_path, capsys):
    swept(tmp_path, [1, 2])
    path = Cells(tmp_path / "cells").path({"seed": 1})
    path.write_bytes(path.read_bytes()[:-20])
    assert swept(tmp_path, [1, 2])[0]["square"] == 1
    assert calls(tmp_path) == [1, 1, 2] and capsys.readouterr().out.count("is damaged") == 1


def test_a_folder_that_cannot_be_written_fails_its_cells_before_they_are_computed(tmp_path):
    (tmp_path / "cells").write_text("")
    rows = swept(tmp_path, [1, 2])
    assert ["could not be written" in row["error"] for row in rows] == [True, True] and calls(tmp_path) == []


def test_a_worker_that_is_killed_costs_its_own_cell_one_more_try_and_the_others_nothing(tmp_path):
    with processes(1) as pool:
        rows = swept(tmp_path, range(4), {1: "dies once", 3: "dies"}, pool)
    assert [row.get("square") for row in rows] == [0, 1, 4, None]
    assert rows[3]["error"].startswith("2 workers died of it: a worker process died, which is what happens when memory")
    assert calls(tmp_path) == [0, 1, 1, 2, 3, 3]
    assert swept(tmp_path, range(4))[3]["square"] == 9 and calls(tmp_path) == [0, 1, 1, 2, 3, 3, 3]


def test_an_unknown_executor_is_refused_and_slurm_without_its_programs_says_so(tmp_path, monkeypatch):
    with pytest.raises(CannotContinue, match=r"one of local, slurm, got 'cloud' as --executor"), executor("cloud", 1):
        pass
    with (
        pytest.raises(CannotContinue, match=r"pairs with commas between, got 'long'"),
        executor("slurm", 1, slurm="long"),
    ):
        pass
    monkeypatch.setenv("PATH", "")
    with pytest.raises((CannotContinue, ModuleNotFoundError), match=r"sbatch|submitit"), executor("slurm", 1, tmp_path):
        pass


# Claims


def test_a_claim_is_held_by_one_until_it_is_left(tmp_path):
    path = tmp_path / "a.claim"
    with claim(path) as first, claim(path) as second:
        assert first and not second and held(path)
    assert not held(path) and not path.exists()
    with pytest.raises(ValueError, match="x"), claim(path):
        raise ValueError("x")
    with claim(path) as again:
        assert again
        assert not claims._inherited(path, {})  # what a worker does that took it for stale a moment too late
    assert list(tmp_path.iterdir()) == []


def left(path, **changes):
    """A claim as its owner left it, with other facts about the owner."""
    path.write_text(json.dumps({**claims._me(), **changes}))
    return path


def aged(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_claim_of_a_dead_process_of_this_machine_is_stale_at_once(tmp_path):
    process = subprocess.Popen(["sleep", "60"])
    path = left(tmp_path / "a.claim", pid=process.pid, born=claims._born(process.pid))
    assert held(path) and held(aged(path, 10 * claims.STALE))  # a stopped process is still at it
    process.kill()
    deadline = time.monotonic() + 30
    while held(path) and time.monotonic() < deadline:  # also while it waits, dead, for its parent
        time.sleep(0.01)
    assert not held(path)
    process.wait()
    with claim(path) as ours:
        assert ours


def test_a_claim_of_another_process_with_a_dead_ones_number_is_stale(tmp_path):
    assert not held(left(tmp_path / "a.claim", born="1"))


def test_a_claim_of_another_machine_is_held_while_it_is_touched(tmp_path):
    path = left(tmp_path / "a.claim", machine="elsewhere")
    assert held(path) and held(aged(path, claims.STALE - 5)) and not held(aged(path, claims.STALE + 5))
    (tmp_path / "b.claim").write_text('{"machi')  # caught while it is being written
    assert held(tmp_path / "b.claim") and not held(aged(tmp_path / "b.claim", claims.STALE + 5))


def test_the_claim_of_a_job_that_was_put_back_into_the_queue_is_stale(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    path = left(tmp_path / "a.claim", machine="elsewhere")
    assert held(path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not held(path)


def test_the_owner_touches_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claim(tmp_path / "a.claim"):
        aged(tmp_path / "a.claim", 1000)
        deadline = time.monotonic() + 30
        while time.time() - (tmp_path / "a.claim").stat().st_mtime > 900 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / "a.claim").stat().st_mtime < 900


def test_of_many_workers_at_a_stale_claim_one_gets_it(tmp_path):
    for i in range(20):
        path = aged(left(tmp_path / f"{i}.claim", machine="elsewhere"), 2 * claims.STALE)
        got, start, leave = [], threading.Barrier(4), threading.Barrier(4, timeout=60)  # an error is no hang

        def race(path=path, got=got, start=start, leave=leave):
            start.wait()
            with claim(path) as ours:
                got.append(ours)
                leave.wait()

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _, race=race: race(), range(4)))
        assert sorted(got) == [False, False, False, True]
    assert list(tmp_path.iterdir()) == []


def test_an_heir_that_is_just_gone_is_not_taken_for_a_dead_one(tmp_path, monkeypatch):
    path = aged(left(tmp_path / "a.claim", machine="elsewhere"), 2 * claims.STALE)
    heir, made = tmp_path / "a.heir", claims._made

    def met_and_gone(at, content):  # another worker's heir is met, and has become the claim when it is looked at
        if at != heir:
            return made(at, content)
        monkeypatch.setattr(
            claims, "_age", lambda at: age(at) if at != heir else (heir.write_text("its own"), math.inf)[1]
        )
        return False

    age = claims._age
    monkeypatch.setattr(claims, "_made", met_and_gone)
    with claim(path) as ours:
        assert not ours
    assert heir.read_text() == "its own"  # the next worker's, which began in between


# Several runs, and runs that are stopped


def sleeps(task, tick):
    folder, name, seconds = task
    with (Path(folder) / "sleeps").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    time.sleep(seconds)
    return {"slept": seconds}


def slept(folder, seconds, pool):
    tasks = [({"cell": i}, (str(folder), i, s)) for i, s in enumerate(seconds)]
    with Progress(disable=True) as bars, pool as made:
        return sweep(sleeps, tasks, Cells(folder / "out"), made, bars)


def run(folder, *seconds, workers):
    """What a command does: a sweep of cells that sleep, ended by one sentence; in a file because nobody watches."""
    sys.stderr = (folder / "said").open("w", buffering=1)
    try:
        with cli_errors(folder / "out"):
            slept(folder, seconds, processes(workers) if workers else ThreadPoolExecutor(1))
    except typer.Exit as end:
        sys.exit(end.exit_code)


@pytest.fixture
def start(tmp_path):
    """Starts a run in a process of its own."""
    made = []

    def started(*seconds, workers):
        make = multiprocessing.get_context("fork").Process
        made.append(make(target=run, args=(tmp_path, *seconds), kwargs={"workers": workers}))
        made[-1].start()
        return made[-1]

    yield started
    for process in made:
        process.kill()


def noted(folder):
    """(cell, process) of every computation that began."""
    path = folder / "sleeps"
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


def until(condition):
    deadline = time.monotonic() + 300
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_two_runs_in_one_folder_share_the_cells_and_both_end_with_all(tmp_path, start):
    runs = [start(*[0.1] * 8, workers=None) for _ in range(2)]
    for process in runs:
        process.join(300)
    assert [process.exitcode for process in runs] == [0, 0]
    assert sorted(cell for cell, _ in noted(tmp_path)) == list(range(8))
    assert {worker for _, worker in noted(tmp_path)} == {process.pid for process in runs}
    assert len(slept(tmp_path, [0.1] * 8, ThreadPoolExecutor(1))) == 8 == len(noted(tmp_path))


def test_a_killed_run_takes_its_workers_along_and_another_that_waits_computes_its_cell(tmp_path, start):
    killed = start(600, workers=1)
    until(lambda: noted(tmp_path))
    waiting = start(600, workers=None)
    time.sleep(0.2)
    assert len(noted(tmp_path)) == 1
    killed.kill()
    until(lambda: len(noted(tmp_path)) == 2)
    (_, worker), (_, other) = noted(tmp_path)
    assert other == waiting.pid
    until(lambda: claims._born(worker) is None)


def test_ctrl_c_ends_at_once_with_one_sentence_and_keeps_finished_cells(tmp_path, start):
    process, out = start(0, 600, 601, workers=1), tmp_path / "out"
    until(lambda: len(noted(tmp_path)) == 2)
    os.kill(process.pid, signal.SIGINT)
    process.join(300)
    sentence = f"Interrupted. Finished cells are kept in {out}: the same command continues from them."
    assert (tmp_path / "said").read_text().strip() == sentence and process.exitcode == 130
    assert Cells(out).find({"cell": 0}) == {"slept": 0} and Cells(out).find({"cell": 1}) is None
    until(lambda: claims._born(noted(tmp_path)[1][1]) is None)
