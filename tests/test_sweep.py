"""A sweep computes each cell once, outlives its failures, and keeps what is finished when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cotrain_losses.benchmarks.results import CannotContinue, Cells
from cotrain_losses.benchmarks.sweep import processes, sweep
from rich.progress import Progress


def counted(task, tick):
    folder, seed, fails = task
    with (Path(folder) / "calls").open("a") as file:
        file.write(f"{seed}\n")
    tick(0.5)
    if fails:
        raise ValueError("the policy diverged")
    return {"seed": seed, "square": seed**2}


def calls(folder):
    path = folder / "calls"
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def swept(folder, seeds, failing=()):
    tasks = [({"seed": seed}, (str(folder), seed, seed in failing)) for seed in seeds]
    with Progress(disable=True) as bars, ThreadPoolExecutor(2) as executor:
        return sweep(counted, tasks, Cells(folder / "cells"), executor, bars)


def test_rows_come_in_order_and_no_cell_is_computed_twice(tmp_path):
    assert [row["square"] for row in swept(tmp_path, [3, 1, 2])] == [9, 1, 4]
    assert [row["square"] for row in swept(tmp_path, [2, 4, 3])] == [4, 16, 9]
    assert calls(tmp_path) == [1, 2, 3, 4]


def test_a_failed_cell_names_its_reason_stops_nothing_and_is_tried_again(tmp_path):
    rows = swept(tmp_path, [1, 2, 3], failing=[2])
    assert rows[1] == {"error": "ValueError: the policy diverged"} and [rows[0]["square"], rows[2]["square"]] == [1, 9]
    assert swept(tmp_path, [1, 2, 3])[1]["square"] == 4
    assert calls(tmp_path) == [1, 2, 2, 3]


def test_a_damaged_cell_is_computed_again(tmp_path, capsys):
    swept(tmp_path, [1, 2])
    path = Cells(tmp_path / "cells").path({"seed": 1})
    path.write_bytes(path.read_bytes()[:-20])
    assert swept(tmp_path, [1, 2])[0]["square"] == 1
    assert calls(tmp_path) == [1, 1, 2] and "is damaged" in capsys.readouterr().out


def dies(task, tick):
    os._exit(1)


def test_a_worker_that_dies_is_one_sentence(tmp_path):
    with (
        pytest.raises(CannotContinue, match=r"a worker process died.*Finished cells are kept"),
        Progress(disable=True) as bars,
        processes(1) as executor,
    ):
        sweep(dies, [({"seed": 0}, 0)], Cells(tmp_path), executor, bars)


def test_ctrl_c_ends_at_once_with_one_sentence_and_keeps_finished_cells(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        import typer
        from rich.progress import Progress
        from cotrain_losses.benchmarks.endings import one_sentence
        from cotrain_losses.benchmarks.results import Cells
        from cotrain_losses.benchmarks.sweep import processes, sweep

        def work(seconds, tick):
            time.sleep(seconds)
            return {"slept": seconds}

        def command(out: Path):
            with one_sentence(out), Progress(disable=True) as bars, processes(1) as executor:
                sweep(work, [({"s": s}, s) for s in (0, 600, 601)], Cells(out), executor, bars)

        if __name__ == "__main__":
            typer.run(command)
        """)
    )
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, script, out], stderr=subprocess.PIPE, text=True)
    try:
        while not Cells(out).path({"s": 0}).exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    sentence = f"Interrupted. Finished cells are kept in {out}: the same command continues from them."
    assert said.strip() == sentence and process.returncode == 130
    assert Cells(out).find({"s": 0}) == {"slept": 0} and Cells(out).find({"s": 600}) is None
