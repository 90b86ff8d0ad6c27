"""The method beside the policy, in LeRobot's own checkpoints.

pretrained_model/config.json, model.safetensors, ...     LeRobot's; stock LeRobot loads them without this package
pretrained_model/cotrain.json                            the run's settings, the domains and their sizes
pretrained_model/cotrain.pt                              what the method has learned
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from .settings import Refused, Settings

SETTINGS, STATE = "cotrain.json", "cotrain.pt"


def write(folder: Path, settings: Settings, facts: dict[str, Any], state: dict[str, Any]) -> None:
    """Put the method beside a policy."""
    (folder / SETTINGS).write_text(json.dumps({**json.loads(settings.text()), **facts}, indent=1))
    torch.save(state, folder / STATE)


def read_settings(folder: Path) -> str | None:
    """The settings of the run that wrote a checkpoint, as JSON; None where there are none."""
    path = folder / SETTINGS
    return path.read_text() if path.is_file() else None


def read_state(folder: Path) -> dict[str, Any]:
    """What the method had learned."""
    if not (folder / STATE).is_file():
        raise Refused(
            f"a checkpoint of cotrain lerobot-train holds its method in {STATE}, got {folder}, which has none. "
            "Begin anew from its policy: -- --policy.path=..., without --resume."
        )
    return dict(torch.load(folder / STATE, weights_only=True))
