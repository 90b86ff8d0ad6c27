"""Every format of demonstrations gives back its frames, and bad data is named."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cotrain_losses.cli.advise import advice
from cotrain_losses.datasets import Demonstrations, Frames, Unreadable, open_demonstrations, register
from tests.formats import LENGTHS, demos, hdf5, lerobot, npz, two_domains


@pytest.fixture
def pair(tmp_path):
    return two_domains(tmp_path)


def test_a_format_of_ones_own_is_one_function(tmp_path):
    """Rows of text: episode, then the action.  Nothing else of the package is touched, and `advice` reads it too."""

    @register("a .rows file", lambda path: path.suffix == ".rows")
    def rows(path, action=None, state=None):
        table = np.loadtxt(path)
        read = lambda: iter([Frames(table[:, 0].astype(int), table[:, 1:], None)])
        return Demonstrations(path, "rows", len(table), len(np.unique(table[:, 0])), read)

    paths = tmp_path / "real.rows", tmp_path / "sim.rows"
    for path, frames in zip(paths, (20, 60), strict=True):
        episode = np.arange(frames)[:, None] // 10
        np.savetxt(path, np.hstack([episode, np.random.default_rng(frames).normal(size=(frames, 2))]))
    report = advice(source=[paths[1]], target=paths[0])
    assert [(d["format"], d["episodes"], d["frames"]) for d in report["datasets"]] == [("rows", 2, 20), ("rows", 6, 60)]
    with pytest.raises(Unreadable, match=r"Give .*an \.npz, .*or a \.rows file"):
        open_demonstrations(broken(tmp_path, "not a dataset"))


def test_lerobot_names_its_dimensions(tmp_path):
    found = open_demonstrations(lerobot(tmp_path / "d", demos(), version="v3.0"))
    assert found.action_names == ("x", "y") and found.state_names == ("a", "b", "c")


def test_the_rate_is_the_datasets_own_fps_or_that_of_its_timestamps(tmp_path):
    assert open_demonstrations(lerobot(tmp_path / "d", demos(), version="v3.0")).rate == 30
    times = np.concatenate([np.arange(n) / 50 for n in LENGTHS])
    assert open_demonstrations(npz(tmp_path / "timed.npz", demos(), timestamp=times)).rate == 50
    assert open_demonstrations(npz(tmp_path / "untimed.npz", demos())).rate is None


def test_other_keys_can_be_named(tmp_path):
    path = hdf5(tmp_path / "demos.hdf5", demos(), key="delta")
    assert open_demonstrations(path, action="delta", state="eef").frames == sum(LENGTHS)


# --- bad data ---


def broken(tmp_path: Path, name: str) -> Path:
    if name == "truncated hdf5":
        whole = hdf5(tmp_path / "whole.hdf5", demos()).read_bytes()
        (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
        return tmp_path / "cut.hdf5"
    if name == "truncated parquet":
        path = lerobot(tmp_path / "cut", demos(), version="v3.0")
        file = path / "data" / "chunk-000" / "file-000.parquet"
        file.write_bytes(file.read_bytes()[:-20])
        return path
    if name == "nan":
        data = demos()
        data[2][0][3, 1] = math.nan
        return npz(tmp_path / "nan.npz", data)
    if name == "empty":
        return lerobot(
            tmp_path / "empty", [(np.zeros((0, 2), np.float32), np.zeros((0, 3), np.float32))], version="v2.1"
        )
    if name == "wrong key":
        return hdf5(tmp_path / "key.hdf5", demos(), key="delta")
    if name == "width":
        return npz(tmp_path / "wide.npz", demos(width=5))
    if name == "no json":
        path = lerobot(tmp_path / "json", demos(), version="v3.0")
        (path / "meta" / "info.json").write_text("{")
        return path
    if name == "no tables":
        path = lerobot(tmp_path / "tables", demos(), version="v3.0")
        (path / "data" / "chunk-000" / "file-000.parquet").unlink()
        return path
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path / "notes.txt"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("truncated hdf5", "could not be read as robomimic HDF5"),
        ("truncated parquet", "could not be read as parquet"),
        ("nan", "1 NaN or infinite action values near frame 8 (episode 2, dimension 1)"),
        ("empty", "is empty"),
        ("wrong key", "has no 'actions', its keys are delta, obs"),
        ("width", "got 2 dimensions in"),
        ("no json", "could not be read as a LeRobot dataset"),
        ("no tables", "holds no data/**/*.parquet"),
        ("not a dataset", "is no dataset known here"),
    ],
)
def test_bad_datasets_are_named(tmp_path, pair, name, says):
    with pytest.raises(Unreadable) as caught:
        advice(source=[broken(tmp_path, name)], target=pair[0])
    assert says in str(caught.value)
