"""A dataset that LeRobot itself wrote is read back: totals, names, rate, and a domain of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cotrain_losses.datasets import Unreadable, open_demonstrations

pytestmark = pytest.mark.integration
LENGTHS = (5, 9, 4)


def written(root: Path) -> np.ndarray:
    """Three episodes with images in the tables; returns their actions."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "observation.images.top": {"dtype": "image", "shape": (8, 8, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    }
    dataset = LeRobotDataset.create("local/read", root=root, fps=10, features=features, use_videos=False)
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(sum(LENGTHS), 2)).astype(np.float32)
    rows = iter(actions)
    for length in LENGTHS:
        for _ in range(length):
            seen = {
                "observation.state": np.ones(3, np.float32),
                "observation.images.top": np.zeros((8, 8, 3), np.uint8),
            }
            dataset.add_frame({**seen, "action": next(rows), "task": "read"})
        dataset.save_episode()
    dataset.finalize()
    return actions


def test_what_lerobot_wrote_is_read_back(tmp_path: Path) -> None:
    actions = written(tmp_path / "d")
    found = open_demonstrations(tmp_path / "d")
    assert (found.frames, found.episodes, found.rate) == (sum(LENGTHS), 3, 10.0)
    assert (found.action_names, found.state_names, found.notes) == (("x", "y"), ("a", "b", "c"), [])
    np.testing.assert_array_equal(np.concatenate([piece.action for piece in found.read()]), actions)
    (tmp_path / "d/meta/domains.json").write_text(json.dumps({"sim": [0, 1], "real": [2]}))
    assert open_demonstrations(f"{tmp_path / 'd'}::domain=real").frames == 4


def test_a_part_of_its_tables_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "d")
    info = tmp_path / "d/meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"total_frames": 40, "total_episodes": 6}))
    with pytest.raises(Unreadable, match=r"its tables hold 18 frames, meta/info.json says 40"):
        open_demonstrations(tmp_path / "d")
