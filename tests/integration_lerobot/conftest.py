"""Runs with LeRobot as it is today, whose environment (Python 3.12, a torch of its own choice) is its own.

`make integration-lerobot` (pytest -m integration_lerobot) collects this folder, nothing else does; it fails where
LeRobot is missing.  The small policies that need no change stand in tests/integration, where LeRobot 0.4.4 is run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")
sys.path.append(str(Path(__file__).parents[1] / "integration"))
