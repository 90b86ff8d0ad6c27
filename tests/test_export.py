"""Exported demonstrations are the demonstrations, in the format's own shape, domains by episode."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim.demos import Demos
from cotrain_bench.sim2sim.export import action_scale, episode_ids, export, is_proprioception
from cotrain_bench.sim2sim.gaps import Gap
from cotrain_bench.sim2sim.world import World

from cotrain_losses.datasets import open_demonstrations
from cotrain_losses.datasets.labels import EpisodeDomains


def demos(*lengths: int) -> Demos:
    frames, draw = sum(lengths), np.random.default_rng(len(lengths))
    observations = draw.normal(size=(frames, 28)).astype(np.float32)
    commands = draw.uniform(-1.2, 1.2, size=(frames, 4)).astype(np.float32)
    points = np.zeros((frames, 6, 3), np.float32)
    return Demos(observations, points, commands, np.array(lengths), tried=len(lengths), expert=1.0)


def test_a_robomimic_file_holds_every_episode_and_names_its_domain(tmp_path: Path) -> None:
    source, target = demos(3, 1, 4), demos(2)
    path = export({"source": source, "target": target}, "robomimic", tmp_path / "deep" / "demos.hdf5")
    with h5py.File(path) as file:
        assert list(file["data"]) == [f"demo_{k}" for k in range(4)] and file["data"].attrs["total"] == 10
        assert json.loads(file["data"].attrs["env_args"])["env_name"] == "sim2sim"
        joined = np.concatenate([file[f"data/demo_{k}/obs/state"][:] for k in range(3)])
        actions = np.concatenate([file[f"data/demo_{k}/actions"][:] for k in range(3)])
        assert [file[f"data/demo_{k}"].attrs["num_samples"] for k in range(4)] == [3, 1, 4, 2]
        assert file["data/demo_2/dones"][:].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(joined, source.observations)
    scale = action_scale(path)
    assert abs(actions).max() <= 1.0 and scale.max() > 1.0 and scale.min() >= 1.0
    np.testing.assert_allclose(actions * scale, source.commands, rtol=1e-6)  # nothing is cut off
    by_demo = EpisodeDomains.of_filter_keys(path, {"source": "source", "target": "target"})
    assert by_demo.of(["demo_3", "demo_0"]).tolist() == [1, 0]
    read = open_demonstrations(path)
    assert (read.frames, read.episodes) == (10, 4)
    np.testing.assert_allclose(np.concatenate([f.action for f in read.read()])[:8], actions)


def test_commands_within_one_are_kept_as_they_are(tmp_path: Path) -> None:
    small = demos(3)
    small.commands[:] *= 0.5
    path = export({"source": small}, "robomimic", tmp_path / "demos.hdf5")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data/demo_0/actions"][:], small.commands)
    assert action_scale(path).tolist() == [1.0] * 4


def test_proprioception_is_what_moving_the_object_and_the_goal_leaves_alone() -> None:
    episode = World("pick-place", Gap()).episode(seed=0)
    before, moved = episode.observation(), episode.keypoints().copy()
    moved[3:] += 0.1  # object, tip of its axis, goal
    episode.keypoints = lambda: moved  # type: ignore[method-assign]
    own = is_proprioception(len(before))
    np.testing.assert_array_equal(own, episode.observation() == before)
    assert own.sum() == 16


def test_episodes_are_numbered_source_first() -> None:
    assert episode_ids({"source": demos(3, 1), "target": demos(2)}) == {"source": [0, 1], "target": [2]}


def test_an_export_overwrites_nothing_and_knows_its_formats(tmp_path: Path) -> None:
    with pytest.raises(CannotContinue, match="which exists"):
        export({"source": demos(1)}, "robomimic", tmp_path)
    with pytest.raises(CannotContinue, match="got 'rlds'"):
        export({"source": demos(1)}, "rlds", tmp_path / "new")
