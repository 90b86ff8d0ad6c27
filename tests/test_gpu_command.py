"""`make gpu`: tried on the CPU, it measures what it can and says of everything else why it did not."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from cotrain_bench.gpu import limits, speed, standins, tokens
from cotrain_bench.gpu.__main__ import PARTS, ran
from cotrain_bench.gpu.bundle import own
from cotrain_bench.gpu.machine import Machine
from cotrain_bench.gpu.table import table

from tests.tools import launches

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What `make gpu-bundle` makes, with one package that is not here and one that is."""
    own(ROOT, tmp_path / "own")
    shutil.copy(Path(limits.__file__).with_name("unpacked.py"), tmp_path / "run.py")
    (tmp_path / "packages").mkdir()
    for name in ("not_here_yet", "torch"):
        with zipfile.ZipFile(tmp_path / "packages" / f"{name}.zip", "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr(f"{name}/__init__.py", "raise ImportError")
    return tmp_path


def test_a_trial_of_the_bundle_writes_its_rows_and_a_table_of_the_figures_and_of_what_did_not_run(
    bundle: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(bundle / "run.py"), "--device", "cpu", "--tiny", "--only", "memory,bad batches"]
    run = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=True, cwd="/")
    assert run.stdout.startswith("unpacked: not_here_yet\n")
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["part"] for row in rows} == {"memory", "bad batches"}
    held = {row["what"]: row["value"] for row in rows if row["part"] == "memory"}
    assert held["OptimalTransport(), by torch alone"] < held["Sinkhorn(), by torch alone"] < 8
    told = [row for row in rows if row["part"] == "bad batches"]
    assert len(told) > 40 and all((row["status"], row["value"]) == ("ok", 1) for row in told)
    text = (tmp_path / "table.md").read_text()
    assert text in run.stdout
    assert "| bad batches told | 1 | 1 | yes |" in text and "0 rows without a figure" in text


def test_a_bundles_tests_find_each_other_beside_another_package_of_that_name(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "tests"  # as LeRobot's configuration library brings one
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "tests/test_pair.py"]
    where = {"PYTHONPATH": f"{bundle / 'own'}{os.pathsep}{other.parent}"}
    found = subprocess.run(command, cwd=bundle / "own", env=os.environ | where, capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.count("tests/test_pair.py::") > 10, found.stdout


def test_bytes_held_are_those_of_tensors_that_are_alive() -> None:
    def call() -> None:
        x = torch.zeros(100)
        y = (x + 1).view(10, 10)[:5]
        del x
        (y + 1).sum()

    assert Machine("cpu").peak(call) == 4 * (100 + 100)
    assert Machine("cpu").peak(lambda: [torch.zeros(10) for _ in range(3)]) == 4 * 30


def test_pooled_tokens_are_held_once_and_a_policy_that_is_not_here_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot", None)
    rows = list(tokens.measured(Machine("cpu", tiny=True)))
    held = [row["value"] for row in rows if row.get("figure") == "copies of the tokens"]
    assert len(held) == 2 and max(held) < 0.01
    assert len(rows) == 8 and all(row["status"].startswith("not run: ") for row in rows[2:])


def test_a_part_that_dies_is_a_row_and_the_parts_after_it_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "no such part", (5.0, limits.memory))  # the child does not know it, and ends
    (row,) = ran("no such part", "cpu", True, tmp_path / "log")
    assert row["status"] == "failed: the process ended with 1: KeyError: 'no such part'"


def test_a_measurement_that_fails_or_comes_too_late_is_a_row() -> None:
    def failing() -> dict[str, float]:
        raise MemoryError("all of it\nis gone")

    assert Machine("cpu").tried("x", failing)["status"] == "failed: MemoryError: all of it"
    assert Machine("cpu", limit=0).tried("x", failing)["status"] == "not run: the part's 0 s are used up"


def test_every_loss_is_timed_beside_the_peers_that_are_there_with_its_gradients_error() -> None:
    rows = list(speed.measured(Machine("cpu", tiny=True)))
    timed = [row for row in rows if row["status"] == "ok"]
    assert {row["figure"] for row in timed if row["peer"] == "ours"} == {f"ms, {loss}" for loss in speed.WANTED}
    assert {"POT envelope", "geomloss scaling 0.9", "plain torch"} <= {row["peer"] for row in timed}
    errors = [row["gradient error"] for row in timed if row["peer"] == "ours" and "gradient error" in row]
    assert len(errors) == 2 and max(errors) <= 1e-3
    assert "flash-sinkhorn" in {row["what"] for row in rows if row["status"].startswith("not run")}


def test_the_table_takes_the_worst_of_a_figure() -> None:
    row = {"part": "waits", "status": "ok", "figure": "waits in five steps", "wanted": 0}
    text = table({"device": "a GPU"}, [{**row, "what": "a", "value": 0}, {**row, "what": "b|c", "value": 5}])
    assert "| waits in five steps | 5 | 0 | no | 1 of 2; b\\|c |" in text


def test_losses_and_steps_launch_no_more_than_the_page_says() -> None:
    losses, steps = launches.counted()
    text = (ROOT / "docs/gpu.md").read_text()
    for dtype, name in (("float32", "| launches, counted |"), ("bfloat16", "| the same, of bfloat16 rows |")):
        (line,) = [line for line in text.splitlines() if line.startswith(name)]
        shown = dict(zip(speed.WANTED, map(int, re.findall(r"\d+", line.removeprefix(name))), strict=True))
        found = losses[dtype]
        assert found.keys() == shown.keys() and all(0 < found[loss] <= shown[loss] for loss in shown)
    found = re.search(r"launches (\d+) more than a bare one with OT, (\d+) with MMD, (\d+) with ratio", text)
    assert found is not None
    for name, most in zip(("OptimalTransport", "MMD", "ratio weights"), found.groups(), strict=True):
        assert steps[name] <= int(most)
    assert min(steps.values()) > 0


def test_only_lerobots_own_files_find_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lerobot"
    package.mkdir()
    (package / "asking.py").write_text("from nowhere_at_all import anything")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lerobot"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(standins, "NAMES", ("nowhere_at_all",))
    assert standins.stand_in() == ["nowhere_at_all"]
    assert importlib.import_module("lerobot.asking").anything
    del sys.modules["nowhere_at_all"], sys.modules["lerobot.asking"]
    assert importlib.util.find_spec("nowhere_at_all") is None  # as transformers asks what is installed
