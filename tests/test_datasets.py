"""Every format of demonstrations gives back its frames, all or a part, and what is not whole is said and refused."""

from __future__ import annotations

import json
import shutil
import sys

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import zarr

from cotrain_losses.datasets import Demonstrations, Frames, Unreadable, named_apart, open_demonstrations, register
from tests.formats import FORMATS, LENGTHS, aloha, d4rl, demos, hdf5, lerobot, minari, npz, replay, umi


def read(found):
    """(episodes, actions, states) of all frames."""
    episodes, actions, states = zip(*found.read(), strict=True)
    return np.concatenate(episodes), np.concatenate(actions), np.concatenate(states)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_back_the_frames_that_were_written(tmp_path, form):
    data = demos()
    found = open_demonstrations(FORMATS[form](tmp_path, data))
    assert (found.frames, found.episodes) == (sum(LENGTHS), len(LENGTHS))
    for _ in range(2):  # it can be read again
        episodes, actions, states = read(found)
        np.testing.assert_allclose(actions, np.concatenate([a for a, _ in data]))
        np.testing.assert_allclose(states, np.concatenate([s for _, s in data]))
        assert np.unique(episodes, return_counts=True)[1].tolist() == list(LENGTHS)


def test_umis_actions_are_its_poses_and_its_images_are_never_decoded(tmp_path):
    data = demos()
    found = open_demonstrations(umi(tmp_path / "umi.zarr", data))
    states = np.concatenate([s for _, s in data])
    np.testing.assert_allclose(read(found)[1], np.hstack([states, states, states[:, :1]]))
    assert found.action_names[0] == "robot0_eef_pos[0]" and "as UMI takes them" in found.notes[0]


def test_alohas_files_are_episodes_and_a_faulty_one_is_named(tmp_path):
    path = aloha(tmp_path / "aloha", demos())
    one = open_demonstrations(path / "episode_2.hdf5", state="qpos+qvel")
    assert (one.format, one.frames, one.state_names[3]) == ("ALOHA HDF5", LENGTHS[2], "qvel[0]")
    with h5py.File(path / "episode_2.hdf5", "a") as file:
        file["base_action"] = np.zeros((LENGTHS[2], 2))
    mobile = open_demonstrations(path / "episode_2.hdf5")
    assert mobile.notes == [
        "'base_action' is not read: --action-key action+base_action joins it, as Mobile ALOHA's ACT does."
    ]
    joined = open_demonstrations(path / "episode_2.hdf5", action="action+base_action")
    assert not joined.notes and read(joined)[1].shape == (LENGTHS[2], read(mobile)[1].shape[1] + 2)
    with h5py.File(path / "episode_1.hdf5", "a") as file:
        del file["observations/qpos"]
        file["observations/qpos"] = np.zeros((1, 5))
    with pytest.raises(Unreadable, match=r"episode_1.hdf5: 'observations/qpos' is 5 wide, in the first file 3"):
        open_demonstrations(path)
    rest = open_demonstrations(path, partial=True)
    assert (rest.episodes, len(read(rest)[0])) == (2, LENGTHS[0] + LENGTHS[2])
    (path / "episode_1.hdf5").unlink()
    gap = open_demonstrations(path)
    assert gap.notes == ["No file has the episodes 1."] and gap.lengths == {0: LENGTHS[0], 2: LENGTHS[2]}
    (path / "episode_0.hdf5").write_bytes(b"")
    with pytest.raises(Unreadable, match=r"episode_0.hdf5.*It is empty, 0 bytes: copy it again"):
        open_demonstrations(path)


def test_a_minari_dataset_is_held_against_its_own_counts(tmp_path):
    path = minari(tmp_path / "door", demos())
    main, table = path / "data/main_data.hdf5", path / "data/metadata.json"
    found = open_demonstrations(path)
    assert (found.format, found.state_names[0], found.name) == ("Minari HDF5", "observations[0]", "door")
    with h5py.File(main, "a") as file:
        file["notes"] = file.pop("episode_1")
    with pytest.raises(Unreadable, match=r"notes at its top is no episode; episode_1 is missing; the dataset has 11"):
        open_demonstrations(path)
    rest = open_demonstrations(path, partial=True)
    assert (rest.episodes, rest.frames) == (2, LENGTHS[0] + LENGTHS[2])
    assert open_demonstrations(f"{main}::episodes=2", partial=True).frames == LENGTHS[2]
    table.write_text("[]")
    with pytest.raises(Unreadable, match=r"metadata\.json could not be read as Minari's metadata"):
        open_demonstrations(path)


def test_observations_that_are_one_array_are_read_too(tmp_path):
    path, data = hdf5(tmp_path / "one.hdf5", demos()), demos()
    with h5py.File(path, "a") as file:
        for number, (_, state) in enumerate(data):
            del file[f"data/demo_{number}/obs"]
            file[f"data/demo_{number}/obs"] = state
    found = open_demonstrations(path)
    np.testing.assert_allclose(read(found)[2], np.concatenate([s for _, s in data]))
    assert found.state_names == ("obs[0]", "obs[1]", "obs[2]")


def test_small_pieces_are_joined_and_each_of_them_is_checked(tmp_path):
    def dataset(path, action=None, state=None):
        rows = [2, 2 + spoilt, 2 - spoilt, 2]
        pieces = [Frames(np.full(2, k), np.full((rows[k], 3), k), None) for k in range(4)]
        return Demonstrations(path, "pieces", 8, 4, lambda: iter(pieces))

    register("a .pieces file", lambda path: path.suffix == ".pieces")(dataset)
    (tmp_path / "d.pieces").touch()
    spoilt = 0
    (joined,) = open_demonstrations(tmp_path / "d.pieces").read()
    assert joined.action[:, 0].tolist() == joined.episode.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    spoilt = 1  # one action too many, then one too few: together they are as many as the episodes
    with pytest.raises(Unreadable, match="every frame has one action and one state of one width, got 3 actions"):
        list(open_demonstrations(tmp_path / "d.pieces").read())


def test_a_flat_file_ends_its_episodes_where_it_says_and_is_one_episode_where_it_does_not(tmp_path):
    path = d4rl(tmp_path / "flat.hdf5", demos())
    with h5py.File(path, "a") as file:
        del file["terminals"], file["timeouts"]
    found = open_demonstrations(path)
    assert found.episodes == 1 and "does not say where episodes end" in found.notes[0]
    with h5py.File(path, "a") as file:
        file["terminals"] = np.arange(sum(LENGTHS)) == 3  # what follows is one more
        file["observations/x"] = file.pop("observations")[()]
    assert open_demonstrations(path).lengths == {0: 4, 1: sum(LENGTHS) - 4} and read(open_demonstrations(path))
    with h5py.File(path, "a") as file:
        file["timeouts"] = np.zeros(5, bool)
    with pytest.raises(Unreadable, match=r"12 \(actions\).*5 \(timeouts\) rows"):
        open_demonstrations(path)


# --- a part of a dataset ---


def merged(tmp_path, form):
    """Four episodes of simulation and three of the robot, with the domains that the format can name."""
    data = demos(0, (3, 4, 5, 6)) + demos(1, (7, 8, 2), shift=50)
    path = FORMATS[form](tmp_path, data)
    if form == "robomimic":
        with h5py.File(path, "a") as file:
            file["mask/sim"] = [f"demo_{k}".encode() for k in range(4)]
            file["mask/real"] = [f"demo_{k}".encode() for k in range(4, 7)]
    elif form.startswith("LeRobot"):
        (path / "meta/domains.json").write_text(json.dumps({"sim": [0, 1, 2, 3], "real": [4, 5, 6]}))
    return path


@pytest.mark.parametrize("form", ["robomimic", "LeRobot v2.1", "LeRobot v3.0"])
def test_a_domain_of_a_merged_dataset_is_read_by_its_name(tmp_path, form):
    path = merged(tmp_path, form)
    sim, real = (open_demonstrations(f"{path}::domain={name}") for name in ("sim", "real"))
    assert (sim.episodes, sim.frames, real.episodes, real.frames) == (4, 18, 3, 17)
    assert read(sim)[1].mean() < 10 < 40 < read(real)[1].mean() and len(read(real)[1]) == 17
    assert [found.name for found in named_apart([sim, real])] == [f"{path.stem} domain={d}" for d in ("sim", "real")]
    assert "All its domains are read as one (" in open_demonstrations(path).notes[0]
    with pytest.raises(Unreadable, match=r"names the domains .*, got 'lab'"):
        open_demonstrations(path, domain="lab")


@pytest.mark.parametrize("form", ["robomimic", "LeRobot v3.0", "zarr v2", "npz"])
def test_ranges_of_episodes_are_read_from_any_format(tmp_path, form):
    path = merged(tmp_path, form)
    found = open_demonstrations(f"{path}::episodes=4-5")
    assert (found.episodes, found.frames) == (2, 15) and len(read(found)[1]) == 15 and read(found)[1].mean() > 40
    assert open_demonstrations(path, episodes=range(4)).frames == 18
    with pytest.raises(Unreadable, match=r"does not have the episodes asked for \(90-91\).* It has 0-6"):
        open_demonstrations(path, episodes=[90, 91])
    with pytest.raises(ValueError, match="ranges like 0-49,60, got '4-'"):
        open_demonstrations(path, episodes="4-")


def test_the_splits_of_a_merged_lerobot_dataset_are_domains(tmp_path):
    path = merged(tmp_path, "LeRobot v3.0")
    (path / "meta/domains.json").unlink()
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | {"splits": {"sim": "0:4", "real": "4:7"}}))
    assert open_demonstrations(path, domain="real").frames == 17


def test_settings_behind_a_path_name_the_keys_of_one_dataset(tmp_path):
    path = hdf5(tmp_path / "demos.hdf5", demos(), key="delta")
    assert open_demonstrations(f"{path}::action=delta::state=eef").frames == sum(LENGTHS)
    two = npz(tmp_path / "two.npz", demos(), left=np.zeros((12, 2)), right=np.ones((12, 1)))
    assert read(open_demonstrations(f"{two}::action=left+right"))[1].mean(0).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="settings behind a path are action="):
        open_demonstrations(f"{path}::actions=delta")
    odd = npz(tmp_path / "a::action=b.npz", demos())
    assert open_demonstrations(odd).frames == sum(LENGTHS)  # a name that exists is a name


# --- datasets that are not whole ---


def table(path, **changes):
    """The one table of a v3 dataset with columns changed, or only some of its rows."""
    file = path / "data/chunk-000/file-000.parquet"
    held = parquet.read_table(file)
    rows = changes.pop("rows", None)
    held = held if rows is None else held.take(list(rows))
    for name, column in changes.items():
        held = held.set_column(held.schema.get_field_index(name), name, column)
    parquet.write_table(held, file)
    return path


def rewritten(path, key, values):
    root = zarr.open_group(str(path), mode="a")
    del root[key]
    root.create_array(key, data=values)
    return path


def edited(path, **info):
    file = path / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | info))
    return path


def without(path, part):
    (path / part).unlink()
    return path


def attribute(path, place, **values):
    with h5py.File(path, "a") as file:
        file[place].attrs.update(values)
    return path


def deleted(path, place):
    with h5py.File(path, "a") as file:
        del file[place]
    return path


def unlisted(path):
    shutil.rmtree(path / "meta/episodes")
    return path


def cut(path):
    return edited(table(unlisted(path), rows=[*range(8), *range(9, 12)]), total_frames=11)


def copied(path, name):
    shutil.copy(path / "data/chunk-000/episode_000002.parquet", path / "data/chunk-000" / name)
    return path


V2 = lambda folder: lerobot(folder / "v2", demos(), version="v2.1")
V3 = lambda folder: lerobot(folder / "v3", demos(), version="v3.0")
ZARR = lambda folder: replay(folder / "a.zarr", demos())
HDF5 = lambda folder: hdf5(folder / "a.hdf5", demos())
BACK = [0] * 5 + [1] * 5 + [0] * 2
SHORT = [[0.0, 0.0]] * 6 + [[0.0]] + [[0.0, 0.0]] * 5
NOT_WHOLE = {
    "an episode's file is missing": (lambda f: without(V2(f), "data/chunk-000/episode_000002.parquet"), 5, "hold 5"),
    "a file is there twice": (lambda f: copied(V2(f), "episode_000003.parquet"), 12, "hold 19 frames"),
    "a copy beside a file": (lambda f: copied(V2(f), "episode_000002 (1).parquet"), 12, "none of its own"),
    "rows are missing": (lambda f: table(V3(f), rows=range(9)), 9, "hold 9 frames, meta/info.json says 12"),
    "rows are doubled": (lambda f: table(V3(f), rows=[*range(12)] * 2), 12, "hold 24 frames"),
    "rows are unsorted": (lambda f: table(V3(f), rows=[*range(11, -1, -1)]), 12, "unsorted or cut"),
    "rows are doubled and counted so": (
        lambda f: edited(table(unlisted(V3(f)), rows=[*range(12)] * 2), total_frames=24),
        12,
        "12 frames are there more than once",
    ),
    "a frame is missing": (lambda f: cut(V3(f)), 11, "frame 4 follows frame 2 in episode 2"),
    "episodes are mingled": (lambda f: table(V3(f), rows=[0, 5, *range(1, 5), *range(6, 12)]), None, "unsorted"),
    "fewer episodes": (lambda f: edited(V3(f), total_episodes=2), 12, "lists 3 episodes, meta/info.json says 2"),
    "more episodes": (lambda f: edited(without(V2(f), "meta/episodes.jsonl"), total_episodes=9), 12, "tables say 9"),
    "a short row": (lambda f: table(V3(f), action=pyarrow.array(SHORT)), 11, "in episode 2 are not 2 wide"),
    "an empty row": (lambda f: table(V3(f), action=pyarrow.array([None, *SHORT[1:6], *SHORT[:6]])), 11, "episode 0"),
    "another width": (lambda f: table(V3(f), action=pyarrow.array([[0.0]] * 12)), 12, "meta/info.json says 2"),
    "ends stop early": (lambda f: rewritten(ZARR(f), "meta/episode_ends", np.array([4, 5])), 5, "ends at frame 5"),
    "ends reach too far": (lambda f: rewritten(ZARR(f), "meta/episode_ends", np.array([4, 5, 99])), 5, "frame 99"),
    "an array is short": (lambda f: rewritten(ZARR(f), "data/state", np.ones((9, 3), "f4")), 5, "9 (data/state) rows"),
    "a chunk is missing": (lambda f: without(ZARR(f), "data/action/1.0"), 12, "2 of 3 chunks of 'data/action'"),
    "another num_samples": (lambda f: attribute(HDF5(f), "data/demo_2", num_samples=9), 12, "num_samples says 9"),
    "another total": (lambda f: attribute(HDF5(f), "data", total=500), 12, "its total says 500"),
    "a demonstration without actions": (lambda f: deleted(HDF5(f), "data/demo_2/actions"), 5, "demo_2"),
    "a demonstration without its state": (lambda f: deleted(HDF5(f), "data/demo_0/obs/eef"), 8, "demo_0"),
    "lengths of another npz": (lambda f: npz(f / "a.npz", demos(), episode_lengths=[4, 1]), 5, "end at frame 5"),
    "an index of another npz": (lambda f: npz(f / "b.npz", demos(), episode_index=[0] * 9), 9, "9 entries of"),
    "a state of another npz": (lambda f: npz(f / "c.npz", demos(), state=np.ones((9, 3))), 9, "9 of 'state'"),
    "an index that returns": (lambda f: npz(f / "d.npz", demos(), episode_index=BACK), 10, "episode 0 occurs"),
}
"""(how it is written, frames that are read of it under partial, what is said)"""


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_a_dataset_that_is_not_whole_is_refused_and_read_once_under_partial(tmp_path, name):
    write, frames, says = NOT_WHOLE[name]
    path = write(tmp_path)
    with pytest.raises(Unreadable) as caught:
        list(open_demonstrations(path).read())
    assert says in str(caught.value) and "--partial" in str(caught.value) and path.name in str(caught.value)
    found = open_demonstrations(path, partial=True)
    assert frames in (None, found.frames) and len(read(found)[1]) == found.frames <= 12
    assert any("Read in part" in note for note in found.notes)


def test_a_part_without_the_broken_episode_is_whole(tmp_path):
    path = deleted(hdf5(tmp_path / "a.hdf5", demos()), "data/demo_1/actions")
    path = attribute(path, "data", total=11)
    assert open_demonstrations(path, episodes=[0, 2]).frames == 11
    with pytest.raises(Unreadable, match="demo_1"):
        open_demonstrations(path, episodes=[1, 2])


def test_a_filter_key_that_names_a_missing_demonstration_is_refused(tmp_path):
    path = hdf5(tmp_path / "a.hdf5", demos())
    with h5py.File(path, "a") as file:
        file["mask/sim"] = [b"demo_0", b"demo_9"]
    with pytest.raises(Unreadable, match="filter key 'sim' names demo_9"):
        open_demonstrations(path, domain="sim")
    assert open_demonstrations(path, domain="sim", partial=True).frames == 4


# --- names are data ---


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["x", "y"], ("x", "y")),
        ([["x", "y"]], ("x", "y")),
        ({"left": ["x"], "right": ["x"]}, ("left.x", "right.x")),
        ({"motors": {"y": 1, "x": 0}}, ("x", "y")),
        (["x", "x"], ("x[0]", "x[1]")),
        (["a\x1b[31m", "[/]"], ("a\\x1b[31m", "[/]")),
        (["arm[left].x", "arm[right].x"], ("arm[left].x", "arm[right].x")),
        (["x", "y", "z"], ()),
        (None, ()),
    ],
)
def test_each_dimension_of_a_lerobot_dataset_has_its_own_name(tmp_path, names, shown):
    path = lerobot(tmp_path / "d", demos(), version="v3.0")
    features = json.loads((path / "meta/info.json").read_text())["features"]
    found = open_demonstrations(edited(path, features=features | {"action": {"shape": [2], "names": names}}))
    assert found.action_names == shown
    assert bool(found.notes) == (shown == () and names is not None)


def test_names_that_are_no_text_or_very_long_are_shown_and_stay_apart(tmp_path):
    path = tmp_path / "odd.hdf5"
    long = "j" * 5000
    with h5py.File(path, "w") as file:
        demo = file.create_group("data/demo_0")
        demo["actions"] = demo["obs/[/]"] = np.zeros((5, 1))
        for key in (b"caf\xe9", f"{long}a".encode(), f"{long}b".encode()):
            space = h5py.h5s.create_simple((5,))
            h5py.h5d.create(demo["obs"].id, key, h5py.h5t.IEEE_F64LE, space).write(space, space, np.zeros(5))
    names = open_demonstrations(path).state_names
    assert len({*names}) == 4 and max(map(len, names)) < 100 and "".join(names).isprintable()
    json.dumps(names).encode("utf-8")


def test_datasets_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths = [hdf5(tmp_path / folder / "low_dim.hdf5", demos()) for folder in ("can/ph", "lift/ph", "real")]
    found = named_apart([open_demonstrations(path) for path in paths])
    assert [one.name for one in found] == ["can/ph/low_dim", "lift/ph/low_dim", "real/low_dim"]


def test_a_format_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    path = FORMATS["RLDS"](tmp_path, demos())
    monkeypatch.setitem(sys.modules, "tfrecord", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs tfrecord, which is not installed: pip install 'cotrain-losses"
    ):
        open_demonstrations(path)


def test_what_a_library_raises_names_the_file_the_key_and_a_remedy(tmp_path):
    path = hdf5(tmp_path / "a.hdf5", demos())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Unreadable, match=r"a\.hdf5 could not be read as robomimic HDF5: .*truncated"):
        open_demonstrations(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(
        Unreadable, match=r"It is a pointer of Git LFS, not the data: fetch the data with `git lfs pull`"
    ):
        open_demonstrations(path)
    path.write_bytes(b"something else entirely, and long enough to be read as a header of some kind" * 9)
    with pytest.raises(Unreadable, match="another format under this name") as caught:
        open_demonstrations(path)
    assert "truncated" not in str(caught.value)
