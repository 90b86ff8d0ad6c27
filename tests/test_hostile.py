"""What is malformed or hostile is refused in one sentence that says how: the table that `make long` runs apart."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotrain_losses.datasets import open_demonstrations
from tests.formats import FORMATS, demos, npz
from tests.hostile import CASES
from tests.tools.apart import apart
from tests.tools.fuzz import NOTED, REFUSED, read

NUMBERS = ("not a number", "infinite")
"""what `advise` refuses, not the reader"""


@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith(NUMBERS) and "bomb" not in name])
def test_a_hostile_dataset_is_refused_in_one_sentence(tmp_path, name):
    """The command prints what is raised here; anything else would be a traceback."""
    source = CASES[name](tmp_path)
    with pytest.raises(ValueError) as caught:
        list(open_demonstrations(source).read())
    said = str(caught.value)
    assert said.isprintable() and len(said) < 2000 + len(str(source)) and said.endswith(".")


def test_the_table_has_at_least_250_cases():
    assert len(CASES) >= 250


def fifty_gigabytes(folder, form):
    """A dataset that declares 50 GB of images, which are nowhere on the disk."""
    shape = (12, 50_000, 30_000, 3)
    path = FORMATS[form](folder, demos())
    if form == "robomimic":
        with h5py.File(path, "a") as file:
            file.create_dataset("data/demo_0/obs/video", (4, *shape[1:]), "u1", chunks=(1, 500, 500, 3))
    elif form == "zarr v2":
        images = {"shape": shape, "chunks": [1, 500, 500, 3], "dtype": "|u1"}
        file = path / "data/img/.zarray"
        file.write_text(json.dumps(json.loads(file.read_text()) | images))
    else:
        (path / "videos").mkdir()
        with (path / "videos/top.mp4").open("wb") as file:
            file.truncate(50 * 10**9)
    return path


@pytest.mark.parametrize("form", ["robomimic", "zarr v2", "LeRobot v3.0"])
def test_fifty_gigabytes_of_images_take_no_memory(tmp_path, form):
    path = fifty_gigabytes(tmp_path, form)
    end = apart(lambda: sum(len(frames.action) for frames in open_demonstrations(path).read()))
    assert (end.status, end.said) == (12, "") and end.mebibytes < 200


def test_images_of_an_npz_are_never_decompressed(tmp_path):
    """The zip says 100 MB of images; the file is cut in the middle of them, which nobody who skips them can see."""
    path = npz(tmp_path / "d.npz", demos(), images=np.zeros((12, 1000, 3000, 3), np.uint8))
    data = bytearray(path.read_bytes())
    begin = data.index(b"images.npy") + 10_000_000
    data[begin : begin + 1000] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(data)
    end = apart(lambda: sum(len(frames.action) for frames in open_demonstrations(path).read()))
    assert (end.status, end.said) == (12, "") and end.mebibytes < 50


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_any_byte_is_refused_or_changes_no_total(tmp_path, data):
    form = data.draw(st.sampled_from([form for form in FORMATS if form not in ("robomimic", "Isaac Lab", "robosuite")]))
    (folder := Path(tempfile.mkdtemp(dir=tmp_path))).joinpath("d").mkdir()
    path = FORMATS[form](folder / "d", demos())
    files = sorted(part for part in (path.rglob("*") if path.is_dir() else [path]) if part.is_file())
    file = data.draw(st.sampled_from(files))
    held = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(held)))
    held[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    file.write_bytes(held)
    end = apart(lambda: read(path))
    assert end.status in (0, NOTED, REFUSED), (form, file, end)
