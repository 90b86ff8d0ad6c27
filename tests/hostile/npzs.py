"""npz files that are well formed and wrong."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.formats import demos, npz


def arrays(folder: Path, **change: Any) -> Path:
    return npz(folder / "d.npz", demos(), **change)


def only(folder: Path, **held: Any) -> Path:
    np.savez(folder / "d.npz", **held)
    return folder / "d.npz"


def header(text: str, data: bytes = b"") -> bytes:
    """An npy file with a header of one's own."""
    written = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(written).to_bytes(2, "little") + written + data


def entry(folder: Path, data: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(folder / "d.npz", "w", method) as file:
        file.writestr("action.npy", data)
    return folder / "d.npz"


def flipped(folder: Path) -> Path:
    path = arrays(folder)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93NUMPY") + 150] ^= 0xFF
    path.write_bytes(data)
    return path


def alone(folder: Path) -> Path:
    out = io.BytesIO()
    np.save(out, np.zeros((12, 2)))
    (folder / "d.npz").write_bytes(out.getvalue())
    return folder / "d.npz"


def bomb(folder: Path) -> Path:
    """5 MB that claim 1.2 GB of zeros, and hold them."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (300000000, 1), }"
    file = zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with file, file.open("action.npy", "w", force_zip64=True) as data:
        data.write(header(text))
        for _ in range(1200):
            data.write(bytes(1_000_000))
    return folder / "d.npz"


def encrypted(folder: Path) -> Path:
    path = arrays(folder)
    data = bytearray(path.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    path.write_bytes(data)
    return path


def renamed(folder: Path) -> Path:
    path = arrays(folder)
    data = path.read_bytes()
    at = data.rindex(b"episode_lengths.npy")
    path.write_bytes(data[: at + 18] + b"\0" + data[at + 19 :])
    return path


CHANGES: dict[str, dict[str, Any]] = {
    "action: pickled": {"action": np.array([{"x": 1}] * 12, object)},
    "action: text": {"action": np.array(["left"] * 12)},
    "action: complex": {"action": np.zeros((12, 2), complex)},
    "action: records": {"action": np.zeros(12, [("x", "f4")])},
    "action: one number": {"action": np.float32(1)},
    "action: no frames": {"action": np.zeros((0, 2))},
    "action: no width": {"action": np.zeros((12, 0))},
    "action: images": {"action": np.zeros((12, 200, 200, 3), "u1")},
    "action: not a number": {"action": np.full((12, 2), np.nan)},
    "action: infinite": {"action": np.full((12, 2), -np.inf)},
    "action: times": {"action": np.zeros((12, 2), "M8[s]")},
    "state: fewer rows": {"state": np.zeros((9, 3))},
    "state: more rows": {"state": np.zeros((20, 3))},
    "state: not a number": {"state": np.full((12, 3), np.nan)},
    "lengths: fewer": {"episode_lengths": [4, 1]},
    "lengths: more": {"episode_lengths": [4, 1, 70]},
    "lengths: negative": {"episode_lengths": [14, -9, 7]},
    "lengths: fractions": {"episode_lengths": [4.5, 0.5, 7.0]},
    "lengths: text": {"episode_lengths": np.array(["4", "1", "7"])},
    "lengths: pickled": {"episode_lengths": np.array([4, 1, 7], object)},
    "ends: falling": {"episode_ends": [5, 4, 12]},
    "ends: short": {"episode_ends": [4, 5]},
    "ends: one number": {"episode_ends": 12},
    "ends: not a number": {"episode_ends": [4.0, np.nan, 12.0]},
    "index: fewer": {"episode_index": [0] * 9},
    "index: returning": {"episode_index": [0, 1] * 6},
    "index: fractions": {"episode_index": [0.5] * 12},
    "index: text": {"episode_index": np.array(["a"] * 12)},
    "index: not a number": {"episode_index": [np.nan] * 12},
}
TWELVE = "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 2), }"
HEADERS = {
    "claims a petabyte": "{'descr': '<f4', 'fortran_order': False, 'shape': (250000000000000, 1), }",
    "claims more than follows": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 2), }",
    "a negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (-12, 2), }",
    "an unknown type": "{'descr': '<q9', 'fortran_order': False, 'shape': (12, 2), }",
    "a program": "__import__('os').system('touch /tmp/never')",
    "no header": "",
    "too deep": "(" * 50 + ")" * 50,
}
CASES = {
    **{name: partial(arrays, **change) for name, change in CHANGES.items()},
    **{f"header: {name}": partial(entry, data=header(text, bytes(96))) for name, text in HEADERS.items()},
    "not an array": partial(entry, data=b"hello"),
    "an array cut short": partial(
        entry, data=header("{'descr': '<f4', 'fortran_order': False, 'shape': (12, 2), }", bytes(50))
    ),
    "a version to come": partial(entry, data=b"\x93NUMPY\x09\x00" + bytes(100)),
    "a flipped bit": flipped,
    "an npy under this name": alone,
    "a bomb": bomb,
    "behind a password": encrypted,
    "no arrays": partial(only),
    "lengths under a spoiled name": renamed,
    "only images": partial(only, images=np.zeros((12, 8, 8, 3), "u1")),
}
