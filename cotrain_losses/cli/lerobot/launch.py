"""LeRobot's script, found, checked and run on its own arguments."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .run import REPLACED, Run
from .settings import Refused, Settings, is_folder


def script() -> Any:
    """LeRobot's training script, if it has what is replaced here."""
    try:
        from lerobot.scripts import lerobot_train
    except ImportError as error:
        raise Refused(
            f"cotrain lerobot-train runs LeRobot's own script, which cannot be imported here ({error}). "
            "Install it: pip install 'lerobot[training]>=0.6.1' (Python 3.12)."
        ) from error
    if absent := [name for name in REPLACED if not hasattr(lerobot_train, name)]:
        raise Refused(
            f"cotrain lerobot-train replaces functions of LeRobot's script, got lerobot {_version()}, which has no "
            f"{', '.join(absent)}. It is tested with 0.6.1; attach the method in Python: docs/codebases.md."
        )
    return lerobot_train


def _version() -> str:
    try:
        return version("lerobot")
    except PackageNotFoundError:
        return "of no version"


def warn_if_alone() -> None:
    """Say that accelerate was asked for several processes and started this one, as it does without --multi_gpu."""
    ranked = ("LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    asked = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ
    if asked and not any(name in os.environ for name in ranked):
        warnings.warn(
            "accelerate launch starts several processes of a script under --multi_gpu, on the CPU too, got one process "
            "and an address to meet others at. Pass --multi_gpu in place of --cpu, or use torchrun.",
            stacklevel=2,
        )


def train(settings: Settings, arguments: list[str]) -> None:
    """Run LeRobot's script on its own arguments."""
    lerobot_train = script()
    warn_if_alone()
    own = [a for a in arguments if a.split("=")[0] in ("--dataset.repo_id", "--dataset.root", "--dataset.episodes")]
    if own:
        raise Refused(f"datasets are named before --, by --target, --source and --episodes, got {own[0]} after it.")
    target = settings.datasets[next(iter(settings.datasets))]
    place = [f"--dataset.repo_id=local/{Path(target).name}", f"--dataset.root={target}"]
    argv, sys.argv = sys.argv, ["lerobot-train", *arguments]
    sys.argv += place if is_folder(target) else [f"--dataset.repo_id={target}"]
    try:
        with Run(settings, lerobot_train).at_work():
            lerobot_train.main()
    finally:
        sys.argv = argv
