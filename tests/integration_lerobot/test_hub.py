"""Datasets that are named by their ids are downloaded by LeRobot's own code, from a Hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import data
import pytest
from hub import serving
from test_train import options

from cotrain_losses.policy.keeping import FILE

pytestmark = pytest.mark.integration_lerobot
COMMAND = [sys.executable, "-m", "cotrain_losses.cli", "lerobot-train", "--target", "lab/real", "--source", "lab/sim"]


def test_a_target_and_a_source_are_downloaded_by_their_ids(tmp_path: Path) -> None:
    made = {f"lab/{name}": data.made(tmp_path / "hub" / name, n) for name, n in (("real", 3), ("sim", 4))}
    command = [*COMMAND, "--ratio", "0.3", "--episodes", "sim=0-2", "--"]
    online = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "0")
    homes = {"HF_HOME": str(tmp_path / "home"), "HF_LEROBOT_HOME": str(tmp_path / "home" / "lerobot")}
    with serving(made) as hub:
        env = {**os.environ, **online, **homes, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        command += options(tmp_path / "run", steps=2, log_freq=1)
        ran = subprocess.run(command, capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stderr.count(" ratio:0.300") == 2
    for folder in made.values():
        files = {path for path in folder.rglob("*") if path.suffix in (".parquet", ".json")}
        assert files <= {Path(path) for path in hub.served}
    assert (tmp_path / "run" / "checkpoints" / "last" / "pretrained_model" / FILE).is_file()
