"""Small LeRobot datasets, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

STATE, ENVIRONMENT, ACTION, SIDE, LENGTH = 4, 2, 3, 48, 20


def made(
    folder: Path,
    episodes: int = 6,
    *,
    cameras: Sequence[str] = (),
    fps: int = 10,
    action: int = ACTION,
    environment: int = ENVIRONMENT,
    robot: str = "arm",
    more: dict[str, int] | None = None,
    shift: float = 0.0,
    scale: float = 1.0,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Path:
    """A dataset whose actions are a fixed function of its states, shifted and scaled."""
    widths = {
        "observation.state": STATE,
        "observation.environment_state": environment,
        **(more or {}),
        "action": action,
    }
    features: dict[str, Any] = {
        key: {"dtype": "float32", "shape": (n,), "names": [f"{key}_{k}" for k in range(n)]} for key, n in widths.items()
    }
    if names is not None:
        features["action"]["names"] = list(names)
    for camera in cameras:
        image = {"dtype": "image", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]}
        features[f"observation.images.{camera}"] = image
    how = {"fps": fps, "features": features, "use_videos": False, "robot_type": robot}
    dataset = LeRobotDataset.create(f"local/{folder.name}", root=folder, **how)
    random, mix = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(STATE, action))
    for _ in range(episodes):
        state = random.normal(size=STATE)
        for _ in range(LENGTH):
            state = 0.9 * state + 0.3 * random.normal(size=STATE)
            frame = {key: random.normal(size=n).astype(np.float32) for key, n in widths.items()}
            frame["observation.state"] = state.astype(np.float32)
            frame["action"] = (shift + scale * np.tanh(state @ mix)).astype(np.float32)
            for camera in cameras:
                frame[f"observation.images.{camera}"] = random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            dataset.add_frame({**frame, "task": "reach"})
        dataset.save_episode()
    dataset.finalize()
    return folder


DIFFUSION = [
    "--policy.type=diffusion",
    "--policy.push_to_hub=false",
    "--policy.device=cpu",
    "--policy.down_dims=[16,32]",
    "--policy.horizon=8",
    "--policy.n_action_steps=4",
    "--policy.crop_ratio=1.0",
    "--policy.pretrained_backbone_weights=null",
    "--policy.use_group_norm=true",
    "--policy.spatial_softmax_num_keypoints=4",
    "--policy.noise_scheduler_type=DDIM",
    "--policy.num_inference_steps=3",
    "--num_workers=0",
    "--batch_size=10",
]
"""LeRobot's options of a small policy"""
