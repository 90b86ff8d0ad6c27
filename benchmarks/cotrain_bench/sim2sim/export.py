"""The simulator's demonstrations in the formats that policies are trained from, domains kept by episode.

    robomimic   data/demo_i/{obs/state, actions, dones, rewards}, filter keys mask/source and mask/target;
                command = actions * data.attrs["action_scale"]
    lerobot     a LeRobotDataset (v3: parquet and meta), meta/domains.json names the episodes of each domain;
                observation.state is the robot's own, observation.environment_state everything else that was observed

Source episodes come first.  Commands are what the expert meant; robomimic's policies end in tanh and act in [-1, 1], so
there each dimension is divided by the largest command of any domain, where that is more than 1.  No images are written.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import CannotContinue, check_one_of
from .demos import Demos
from .world import COMMAND, OWN

FORMATS = ("lerobot", "robomimic")
OWN_POINTS = 3  # The first keypoints of an observation are the robot's own: its hand and two fingers.
RATE = 80  # control steps a second of the simulator


def export(demos: Mapping[str, Demos], form: str, path: Path) -> Path:
    """Write demonstrations by domain as "lerobot" (a new folder) or "robomimic" (one .hdf5 file); returns where.

    Raises CannotContinue for an unknown format, a path that exists, or a format whose library is not installed.
    """
    check_one_of("an export", form, FORMATS)
    if path.exists():
        raise CannotContinue(f"an export is written to a new place, got {path}, which exists. Name another.")
    path.parent.mkdir(parents=True, exist_ok=True)
    (_lerobot if form == "lerobot" else _robomimic)(demos, path)
    return path


def episodes(demos: Mapping[str, Demos]) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """(domain, observations, commands) of every episode."""
    for domain, some in demos.items():
        ends = np.cumsum(some.lengths)
        for first, end in zip(ends - some.lengths, ends, strict=True):
            yield domain, some.observations[first:end], some.commands[first:end]


def episode_ids(demos: Mapping[str, Demos]) -> dict[str, list[int]]:
    numbers = itertools.count()
    return {domain: list(itertools.islice(numbers, len(some))) for domain, some in demos.items()}


def is_proprioception(width: int) -> NDArray[np.bool_]:
    """(width,) which observed numbers are the robot's own: its keypoints in both pictures, its state."""
    picture = np.arange((width - OWN) // 2) < 2 * OWN_POINTS
    return np.concatenate([picture, picture, np.ones(OWN, bool)])


def action_scale(path: Path) -> NDArray[np.float32]:
    """(4,) what the actions of a robomimic export are multiplied by to be commands."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "r") as file:
        return np.asarray(file["data"].attrs["action_scale"], dtype=np.float32)


def _robomimic(demos: Mapping[str, Demos], path: Path) -> None:
    import h5py

    environment = {"env_name": "sim2sim", "type": 2, "env_kwargs": {}}  # type 2: robomimic's name for Gym
    scale = np.maximum(np.max([abs(some.commands).max(0) for some in demos.values()], 0), np.float32(1.0))
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for number, (_, observations, commands) in enumerate(episodes(demos)):
            demo = data.create_group(f"demo_{number}")
            demo["obs/state"] = observations
            demo["actions"] = commands / scale
            demo["rewards"] = demo["dones"] = np.arange(len(commands)) == len(commands) - 1
            demo.attrs["num_samples"] = len(commands)
        data.attrs["total"] = sum(int(some.lengths.sum()) for some in demos.values())
        data.attrs["env_args"], data.attrs["action_scale"] = json.dumps(environment), scale
        for domain, ids in episode_ids(demos).items():
            file[f"mask/{domain}"] = np.array([f"demo_{number}".encode() for number in ids])


def _lerobot(demos: Mapping[str, Demos], path: Path) -> None:
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise CannotContinue(
            f"a LeRobotDataset is written by LeRobot itself, which cannot be imported here ({error}). "
            "Install lerobot==0.4.4 as docs/codebases.md says, or export robomimic."
        ) from error
    own = is_proprioception(next(iter(demos.values())).observations.shape[1])
    how = {"fps": RATE, "features": _features(own), "use_videos": False, "robot_type": "sawyer"}
    dataset = LeRobotDataset.create("local/sim2sim", root=path, **how)
    for _, observations, commands in episodes(demos):
        for observation, command in zip(observations, commands, strict=True):
            state = {"observation.state": observation[own], "observation.environment_state": observation[~own]}
            dataset.add_frame({**state, "action": command, "task": "sim2sim"})
        dataset.save_episode()
    dataset.finalize()
    (path / "meta" / "domains.json").write_text(json.dumps(episode_ids(demos)))


def _features(own: NDArray[np.bool_]) -> dict[str, Any]:
    widths = {"observation.state": int(own.sum()), "observation.environment_state": int((~own).sum())}
    features = {}
    for name, width in {**widths, "action": COMMAND}.items():
        names = [f"{name.split('.')[-1]}_{k}" for k in range(width)]
        features[name] = {"dtype": "float32", "shape": (width,), "names": names}
    return features
