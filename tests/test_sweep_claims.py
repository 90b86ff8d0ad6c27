"""Cells that are claimed by one run among several, and runs that are stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from cotrain_bench.executors import executor
from cotrain_bench.results import Cells
from cotrain_bench.sweep import Claim, sweep
from cotrain_bench.terminal import cli_errors
from rich.progress import Progress

# Claims


def test_a_claim_is_held_by_one_until_it_is_left(tmp_path):
    path = tmp_path / "a.json"
    with Claim(path).taken() as first, Claim(path).taken() as second:
        assert first and not second and Claim(path).held()
    assert not Claim(path).held()
    with pytest.raises(ValueError, match="x"), Claim(path).taken():
        raise ValueError("x")
    with Claim(path).taken() as again:
        assert again
    assert list(tmp_path.iterdir()) == []


def take(path):
    """What a worker does that is at a cell for long."""
    with Claim(path).taken() as ours:
        path.with_suffix(".taken").write_text(str(ours))
        time.sleep(600)


@pytest.fixture
def owner(tmp_path):
    """A process that holds a cell's claim."""
    process = multiprocessing.get_context("fork").Process(target=take, args=(tmp_path / "a.json",))
    process.start()
    until((tmp_path / "a.taken").exists)
    yield process
    process.kill()


def test_a_claim_of_a_dead_process_of_this_machine_is_free_at_once_and_goes_to_one(tmp_path, owner):
    path, got, leave = tmp_path / "a.json", [], threading.Barrier(4, timeout=60)
    assert Claim(path).held()
    owner.kill()
    owner.join()

    def race(_):
        with Claim(path).taken() as ours:
            got.append(ours)
            leave.wait()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(race, range(4)))
    assert sorted(got) == [False, False, False, True] and not Claim(path).held()


def test_a_claim_is_held_while_its_owner_renews_it_and_free_some_time_after(tmp_path, monkeypatch, request):
    monkeypatch.setattr("cotrain_bench.sweep.LEASE", 2.0)
    monkeypatch.setattr("cotrain_bench.sweep.BEAT", 0.1)
    owner, claim = request.getfixturevalue("owner"), Claim(tmp_path / "a.json")
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        assert claim.held()
    os.kill(owner.pid, signal.SIGSTOP)  # alive, but nobody can tell from another machine
    assert claim.held()
    until(lambda: not claim.held())


def test_a_damaged_claim_does_not_stay_in_the_way(tmp_path):
    claim = Claim(tmp_path / "a.json")
    claim.path.write_text('{"machi')
    until(lambda: not claim.held())
    with claim.taken() as ours:
        assert ours


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
            slept(folder, seconds, executor("local", workers) if workers else ThreadPoolExecutor(1))
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


def alive(pid):
    """Whether a process runs; a dead one that waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


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
    until(lambda: not alive(worker))


def test_ctrl_c_ends_at_once_with_one_sentence_and_keeps_finished_cells(tmp_path, start):
    process, out = start(0, 600, 601, workers=1), tmp_path / "out"
    until(lambda: len(noted(tmp_path)) == 2)
    os.kill(process.pid, signal.SIGINT)
    process.join(300)
    sentence = f"Interrupted. Finished cells are kept in {out}: the same command continues from them."
    assert (tmp_path / "said").read_text().strip() == sentence and process.exitcode == 130
    assert Cells(out).find({"cell": 0}) == {"slept": 0} and Cells(out).find({"cell": 1}) is None
    until(lambda: not alive(noted(tmp_path)[1][1]))
