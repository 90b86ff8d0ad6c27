"""A sweep computes each cell once, in order, and a failed cell stops nothing."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cotrain_bench.executors import executor
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
    with executor("local", 1) as pool:
        rows = swept(tmp_path, range(4), {1: "dies once", 3: "dies"}, pool)
    assert [row.get("square") for row in rows] == [0, 1, 4, None]
    assert rows[3]["error"].startswith("2 workers died of it: a worker process died, which is what happens when memory")
    assert calls(tmp_path) == [0, 1, 1, 2, 3, 3]
    assert swept(tmp_path, range(4))[3]["square"] == 9 and calls(tmp_path) == [0, 1, 1, 2, 3, 3, 3]


def test_an_unknown_executor_is_refused_and_slurm_without_its_programs_says_so(tmp_path, monkeypatch):
    with pytest.raises(CannotContinue, match=r"an executor is one of local, slurm, got 'cloud'"), executor("cloud", 1):
        pass
    with (
        pytest.raises(CannotContinue, match=r"pairs with commas between, got 'long'"),
        executor("slurm", 1, slurm="long"),
    ):
        pass
    monkeypatch.setenv("PATH", "")
    with pytest.raises((CannotContinue, ModuleNotFoundError), match=r"sbatch|submitit"), executor("slurm", 1, tmp_path):
        pass
