"""Demonstrations drawn at random, and written in every format that is read by the library that owns it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

LENGTHS = (4, 1, 7)
NAMES = ["x", "y"]


def demos(seed: int = 0, lengths: tuple[int, ...] = LENGTHS, width: int = 2, shift: float = 0.0):
    """(action, state) of each episode."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(shift, 1, (n, width)).astype(np.float32), rng.normal(0, 1, (n, 3)).astype(np.float32))
        for n in lengths
    ]


def lerobot(path: Path, episodes, *, version: str, matrix: bool = False) -> Path:
    """As LeRobot lays it out: v2 a table per episode, v3 one for all; `matrix` writes actions as lists of lists."""
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    width, v3 = episodes[0][0].shape[1], version.startswith("v3")
    features = {
        "action": {"dtype": "float32", "shape": [width], "names": NAMES[:width]},
        "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["a", "b", "c"]}},
        "observation.images.top": {"dtype": "video", "shape": [3, 96, 96]},
    }
    info = {"codebase_version": version, "total_episodes": len(episodes), "features": features, "fps": 30}
    info["total_frames"] = sum(len(a) for a, _ in episodes)
    own = "file-{file_index:03d}" if v3 else "episode_{episode_index:06d}"
    info["data_path"] = f"data/chunk-{{{'chunk_index' if v3 else 'episode_chunk'}:03d}}/{own}.parquet"
    (path / "meta").mkdir(parents=True)
    (path / "meta" / "info.json").write_text(json.dumps(info))
    folder = path / "data" / "chunk-000"
    folder.mkdir(parents=True)
    tables = []
    for number, (action, state) in enumerate(episodes):
        lists = lambda x: arrow.array(x.tolist(), arrow.list_(arrow.float32()))
        fixed = lambda x: arrow.FixedSizeListArray.from_arrays(arrow.array(x.ravel()), x.shape[1])
        column = fixed if v3 else lists
        actions = arrow.array([[[float(v)] for v in row] for row in action]) if matrix else column(action)
        places = {"episode_index": np.full(len(action), number), "frame_index": np.arange(len(action))}
        tables.append(arrow.table({"action": actions, "observation.state": column(state), **places}))
    listed = [{"episode_index": number, "length": len(action)} for number, (action, _) in enumerate(episodes)]
    if v3:
        parquet.write_table(arrow.concat_tables(tables), folder / "file-000.parquet")
        (path / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        parquet.write_table(arrow.Table.from_pylist(listed), path / "meta/episodes/chunk-000/file-000.parquet")
    else:
        for number, table in enumerate(tables):
            parquet.write_table(table, folder / f"episode_{number:06d}.parquet")
        (path / "meta" / "episodes.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in listed))
    return path


def hdf5(path: Path, episodes, *, key: str = "actions", first: int = 0, nested: bool = False) -> Path:
    """As robomimic writes it; `nested` and one observation more, as Isaac Lab does."""
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for number, (action, state) in enumerate(episodes):
            demo = data.create_group(f"demo_{number + first}")
            demo.attrs["num_samples"] = len(action)
            demo[key] = action.astype(np.float64)
            demo["obs/policy/eef" if nested else "obs/eef"] = np.vstack([state, state[-1:]]) if nested else state
            demo["obs/image"] = np.zeros((len(action), 8, 8, 3), np.uint8)
            if nested:
                demo["obs/datagen_info/object_pose/cube"] = np.zeros((len(action), 4, 4), np.float32)
                demo["initial_state/robot/joint_position"] = np.zeros((1, 9), np.float32)
        data.attrs["total"] = sum(len(action) for action, _ in episodes)
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 20}})
    return path


def replay(path: Path, episodes, *, zarr_format: int = 2, state: str = "data/state", chunk: int = 5) -> Path:
    """As diffusion_policy writes it, with chunks of so many frames."""
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    actions, states = (np.concatenate(parts) for parts in zip(*episodes, strict=True))
    for key, values in (("data/action", actions), (state, states)):
        root.create_array(key, data=values, chunks=(chunk, values.shape[1]))
    root.create_array("data/img", data=np.zeros((len(actions), 4, 4, 3), np.float32))
    root.create_array("meta/episode_ends", data=np.cumsum([len(a) for a, _ in episodes]))
    return path


def umi(path: Path, episodes) -> Path:
    """As UMI writes it: poses and no action, images in a codec that is not installed here."""
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    states = np.concatenate([state for _, state in episodes])
    for part in ("eef_pos", "eef_rot_axis_angle"):
        root.create_array(f"data/robot0_{part}", data=states)
    root.create_array("data/robot0_gripper_width", data=states[:, :1])
    root.create_array("data/camera0_rgb", data=np.ones((len(states), 4, 4, 3), np.uint8))
    root.create_array("meta/episode_ends", data=np.cumsum([len(a) for a, _ in episodes]))
    metadata = path / "data" / "camera0_rgb" / ".zarray"
    jpeg = {"id": "imagecodecs_jpegxl", "level": 99}
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"compressor": jpeg}))
    return path


def zipped(path: Path, folder: Path, *, top: str = "") -> Path:
    """A folder as a zip, its files under `top`."""
    with zipfile.ZipFile(path, "w") as file:
        for part in sorted(folder.rglob("*")):
            if part.is_file():
                file.write(part, Path(top, part.relative_to(folder)))
    return path


def npz(path: Path, episodes, **extra) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"action": np.concatenate([a for a, _ in episodes]), "state": np.concatenate([s for _, s in episodes])}
    np.savez(path, **{**arrays, "episode_lengths": [len(a) for a, _ in episodes], **extra})
    return path


def imitation(path: Path, episodes) -> Path:
    """As the imitation library writes it: the last observation of each episode too, and pickled infos."""
    actions = [action for action, _ in episodes]
    infos = np.array([{"step": 0}] * sum(map(len, actions)), dtype=object)
    arrays = {"acts": np.concatenate(actions), "obs": np.concatenate([np.vstack([s, s[-1:] + 9]) for _, s in episodes])}
    np.savez(path, **arrays, indices=np.cumsum([len(a) for a in actions[:-1]]), infos=infos)
    return path


def rlds(path: Path, episodes, *, split: bool = False) -> Path:
    """As tensorflow_datasets lays it out, a shard per two episodes; `split` has an action of two parts."""
    writer = pytest.importorskip("tfrecord.writer").TFRecordWriter
    tensor = lambda *shape: {"tensor": {"shape": {"dimensions": shape}, "dtype": "float32", "encoding": "none"}}
    dictionary = lambda **inside: {"featuresDict": {"features": inside}}
    width = str(episodes[0][0].shape[1])
    action = dictionary(x=tensor("1"), y=tensor("1")) if split else tensor(width)
    image = {"image": {"shape": {"dimensions": ["8", "8", "3"]}, "dtype": "uint8", "encodingFormat": "png"}}
    step = dictionary(action=action, observation=dictionary(state=tensor("3"), image=image))
    path.mkdir(parents=True)
    (path / "features.json").write_text(json.dumps(dictionary(steps={"sequence": {"feature": step}})))
    shards = [episodes[k : k + 2] for k in range(0, len(episodes), 2)]
    splits = [{"name": "train", "shardLengths": [str(len(shard)) for shard in shards]}]
    (path / "dataset_info.json").write_text(json.dumps({"name": "toy", "splits": splits}))
    for number, shard in enumerate(shards):
        file = writer(str(path / f"toy-train.tfrecord-{number:05d}-of-{len(shards):05d}"))
        for actions, states in shard:
            parts = {"x": actions[:, 0], "y": actions[:, 1]} if split else {"": actions.ravel()}
            record = {f"steps/action/{part}".rstrip("/"): (values.tolist(), "float") for part, values in parts.items()}
            record["steps/observation/state"] = states.ravel().tolist(), "float"
            record["steps/observation/image"] = [b"\x89PNG"] * len(actions), "byte"
            file.write(record)
        file.close()
    return path


def aloha(path: Path, episodes) -> Path:
    """As ALOHA records it: one file an episode, with what a camera saw."""
    h5py = pytest.importorskip("h5py")
    path.mkdir(parents=True)
    for number, (action, state) in enumerate(episodes):
        with h5py.File(path / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"] = True
            file["action"], file["observations/qpos"] = action, state
            file["observations/qvel"] = np.zeros_like(state)
            file["observations/images/cam_high"] = np.zeros((len(action), 4, 4, 3), np.uint8)
    return path


def d4rl(path: Path, episodes) -> Path:
    """As D4RL writes it: transitions end to end; every second episode is timed out."""
    h5py = pytest.importorskip("h5py")
    last = [np.arange(len(action)) == len(action) - 1 for action, _ in episodes]
    with h5py.File(path, "w") as file:
        file["actions"], file["observations"] = (np.concatenate(parts) for parts in zip(*episodes, strict=True))
        file["rewards"] = np.zeros(sum(map(len, last)), np.float32)
        for k, key in enumerate(("terminals", "timeouts")):
            file[key] = np.concatenate([ends & (number % 2 == k) for number, ends in enumerate(last)])
        file["infos/qpos"] = np.concatenate([state for _, state in episodes])
    return path


def minari(path: Path, episodes, *, parts: bool = False) -> Path:
    """As Minari lays it out: resizable arrays, one observation more, infos as text; `parts` has dictionaries."""
    h5py = pytest.importorskip("h5py")
    (path / "data").mkdir(parents=True)
    with h5py.File(path / "data" / "main_data.hdf5", "w", track_order=True) as file:
        for number, (action, state) in enumerate(episodes):
            episode = file.create_group(f"episode_{number}")
            episode.attrs.update(id=number, total_steps=len(action))
            fields = {"observations": np.vstack([state, state[-1:]]), "actions": action}
            if parts:
                fields = {"observations/desired": fields["observations"], "actions/_index_0": action}
                fields["observations/image"] = np.zeros((len(action) + 1, 4, 4, 3), np.uint8)
            fields |= {"rewards": np.zeros(len(action)), "truncations": np.zeros(len(action), bool)}
            for key, values in fields.items():
                episode.create_dataset(key, data=values, chunks=True, maxshape=(None, *values.shape[1:]))
            episode.create_dataset("infos", data=["{}"] * len(action))
    totals = {"total_episodes": len(episodes), "total_steps": sum(len(action) for action, _ in episodes)}
    (path / "data" / "metadata.json").write_text(json.dumps({**totals, "data_format": "hdf5"}))
    return path


def two_domains(folder: Path) -> tuple[Path, Path]:
    """A small target and a larger source shifted by one deviation."""
    target = lerobot(folder / "real", demos(0, (10, 12, 8)), version="v3.0")
    return target, npz(folder / "sim.npz", demos(1, (100,) * 4, shift=1.0))


FORMATS = {
    "LeRobot v2.0": lambda folder, data: lerobot(folder / "v20", data, version="v2.0"),
    "LeRobot v2.1": lambda folder, data: lerobot(folder / "v21", data, version="v2.1"),
    "LeRobot v3.0": lambda folder, data: lerobot(folder / "v30", data, version="v3.0"),
    "LeRobot v3.1": lambda folder, data: lerobot(folder / "v31", data, version="v3.1"),
    "LeRobot matrix": lambda folder, data: lerobot(folder / "matrix", data, version="v3.0", matrix=True),
    "robomimic": lambda folder, data: hdf5(folder / "demos.hdf5", data),
    "robosuite": lambda folder, data: hdf5(folder / "demo.hdf5", data, first=1),
    "one action": lambda folder, data: hdf5(folder / "one.hdf5", data, key="action"),
    "Isaac Lab": lambda folder, data: hdf5(folder / "isaac.hdf5", data, nested=True),
    "zarr v2": lambda folder, data: replay(folder / "buffer.zarr", data),
    "zarr v3": lambda folder, data: replay(folder / "v3.zarr", data, zarr_format=3),
    "zarr nested": lambda folder, data: replay(folder / "nested.zarr", data, state="data/obs/pos"),
    "zarr zip": lambda folder, data: zipped(folder / "a.zarr.zip", replay(folder / "a.zarr", data)),
    "zarr zip, top": lambda folder, data: zipped(folder / "b.zip", replay(folder / "b.zarr", data), top="b.zarr"),
    "npz": lambda folder, data: npz(folder / "data.npz", data),
    "RLDS": lambda folder, data: rlds(folder / "rlds", data),
    "RLDS of parts": lambda folder, data: rlds(folder / "parts", data, split=True),
    "ALOHA": lambda folder, data: aloha(folder / "aloha", data),
    "D4RL": lambda folder, data: d4rl(folder / "flat.hdf5", data),
    "Minari": lambda folder, data: minari(folder / "minari", data),
    "Minari of parts": lambda folder, data: minari(folder / "parts", data, parts=True) / "data/main_data.hdf5",
    "imitation": lambda folder, data: imitation(folder / "imitation.npz", data),
}
"""every format and each way in which it occurs"""
