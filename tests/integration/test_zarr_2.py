"""Replay buffers written and read by zarr 2, which robomimic's and diffusion_policy's environments hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from cotrain_losses.datasets import Unreadable, open_demonstrations

pytestmark = pytest.mark.integration
FRAMES, ENDS = 12, [4, 5, 12]


def buffer(store: object) -> np.ndarray:
    """A buffer as diffusion_policy writes it; returns its actions."""
    assert zarr.__version__.startswith("2."), "this environment pins zarr 2; zarr 3 is tried in tests/test_datasets.py"
    rng = np.random.default_rng(0)
    root = zarr.group(store, overwrite=True)
    data, meta = root.create_group("data"), root.create_group("meta")
    actions = rng.normal(size=(FRAMES, 2)).astype(np.float32)
    data.array("action", actions, chunks=(5, 2))
    data.array("state", rng.normal(size=(FRAMES, 3)), chunks=(5, 3))
    data.array("img", np.zeros((FRAMES, 8, 8, 3), np.uint8))
    meta.array("episode_ends", np.array(ENDS))
    return actions


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_buffer_of_zarr_2_is_read_by_zarr_2(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("a.zarr" if form == "folder" else "a.zarr.zip")
    store = zarr.DirectoryStore(str(path)) if form == "folder" else zarr.ZipStore(str(path), mode="w")
    actions = buffer(store)
    store.close()
    found = open_demonstrations(path)
    frames = list(found.read())
    assert (found.frames, found.episodes) == (FRAMES, 3)
    np.testing.assert_array_equal(np.concatenate([piece.action for piece in frames]), actions)
    assert np.concatenate([piece.state for piece in frames]).shape == (FRAMES, 3)


def test_a_chunk_that_is_cut_is_refused(tmp_path: Path) -> None:
    buffer(zarr.DirectoryStore(str(tmp_path / "a.zarr")))
    chunk = tmp_path / "a.zarr/data/action/1.0"
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(Unreadable, match="is truncated or damaged"):
        list(open_demonstrations(tmp_path / "a.zarr").read())


def test_v3_is_refused_with_what_to_install(tmp_path: Path) -> None:
    for name in ("", "data", "meta"):
        (tmp_path / "a.zarr" / name).mkdir()
        (tmp_path / "a.zarr" / name / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    for key, shape in (("data/action", [FRAMES, 2]), ("meta/episode_ends", [3])):
        held = {"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "float32", "codecs": []}
        held["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": shape}}
        held["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
        (tmp_path / "a.zarr" / key).mkdir()
        (tmp_path / "a.zarr" / key / "zarr.json").write_text(json.dumps(held))
    with pytest.raises(Unreadable, match=r"written in zarr v3, which zarr 2\..* does not read: pip install 'zarr>=3'"):
        open_demonstrations(tmp_path / "a.zarr")
