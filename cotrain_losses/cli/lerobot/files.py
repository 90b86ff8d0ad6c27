"""The method beside the policy, in LeRobot's own checkpoints.

pretrained_model/config.json, model.safetensors, ...     LeRobot's; stock LeRobot loads them without this package
pretrained_model/cotrain.json                            the run's settings, the domains and their sizes
pretrained_model/cotrain_method.pt                       what the method has learned: `policy.keeping`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...method import Method
from ...policy import keeping
from .settings import Refused, Settings

SETTINGS = "cotrain.json"


def write(folder: Path, settings: Settings, facts: dict[str, Any], method: Method) -> None:
    """Put the method beside a policy."""
    (folder / SETTINGS).write_text(json.dumps({**json.loads(settings.text()), **facts}, indent=1))
    keeping.save(method, folder)


def read_settings(folder: Path) -> str | None:
    """The settings of the run that wrote a checkpoint, as JSON; None where there are none."""
    path = folder / SETTINGS
    return path.read_text(errors="replace") if path.is_file() else None


def load(method: Method, folder: Path) -> None:
    """Give a method back what it had learned; Refused if there is nothing, or if it is another method's."""
    try:
        keeping.load(method, folder, strict=True)
    except FileNotFoundError as error:
        raise Refused(
            f"a checkpoint of cotrain lerobot-train holds its method in {keeping.FILE}, got {folder}, which has none. "
            "Begin anew from its policy: -- --policy.path=..., without --resume."
        ) from error
    except ValueError as error:
        raise Refused(f"{error} Pass the --method that the run began with, or none.") from error
