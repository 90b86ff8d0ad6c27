"""Advice: every format says the same of the same data, numbers are what they claim, and bad data is named."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotrain_losses.cli.advise import advice
from cotrain_losses.cli.advise.advice import batches
from cotrain_losses.cli.advise.statistics import Moments, pooled, summarised
from cotrain_losses.datasets import Demonstrations, Frames, Unreadable, open_demonstrations, register
from cotrain_losses.mixing import MixedBatchSampler

LENGTHS = (4, 1, 7)
NAMES = ["x", "y"]


def demos(seed: int = 0, lengths: tuple[int, ...] = LENGTHS, width: int = 2, shift: float = 0.0):
    """(action, state) of each episode."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(shift, 1, (n, width)).astype(np.float32), rng.normal(0, 1, (n, 3)).astype(np.float32))
        for n in lengths
    ]


def lerobot(path: Path, episodes, *, version: str) -> Path:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    width = episodes[0][0].shape[1]
    features = {
        "action": {"dtype": "float32", "shape": [width], "names": NAMES[:width]},
        "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["a", "b", "c"]}},
        "observation.images.top": {"dtype": "video", "shape": [3, 96, 96]},
    }
    info = {"codebase_version": version, "total_episodes": len(episodes), "features": features}
    info["total_frames"] = sum(len(a) for a, _ in episodes)
    (path / "meta").mkdir(parents=True)
    (path / "meta" / "info.json").write_text(json.dumps(info))
    folder = path / "data" / "chunk-000"
    folder.mkdir(parents=True)
    tables = []
    for number, (action, state) in enumerate(episodes):
        lists = lambda x: arrow.array(x.tolist(), arrow.list_(arrow.float32()))
        fixed = lambda x: arrow.FixedSizeListArray.from_arrays(arrow.array(x.ravel()), x.shape[1])
        column = fixed if version == "v3.0" else lists
        columns = {"action": column(action), "observation.state": column(state)}
        tables.append(arrow.table({**columns, "episode_index": np.full(len(action), number)}))
    if version == "v3.0":
        parquet.write_table(arrow.concat_tables(tables), folder / "file-000.parquet")
    else:
        for number, table in enumerate(tables):
            parquet.write_table(table, folder / f"episode_{number:06d}.parquet")
    return path


def hdf5(path: Path, episodes, *, key: str = "actions") -> Path:
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, (action, state) in enumerate(episodes):
            demo = file.create_group(f"data/demo_{number}")
            demo[key] = action.astype(np.float64)
            demo["obs/eef"], demo["obs/image"] = state, np.zeros((len(action), 8, 8, 3), np.uint8)
    return path


def replay(path: Path, episodes) -> Path:
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.create_array("data/action", data=np.concatenate([a for a, _ in episodes]))
    root.create_array("data/state", data=np.concatenate([s for _, s in episodes]))
    root.create_array("data/img", data=np.zeros((sum(len(a) for a, _ in episodes), 4, 4, 3), np.float32))
    root.create_array("meta/episode_ends", data=np.cumsum([len(a) for a, _ in episodes]))
    return path


def zipped(path: Path, episodes) -> Path:
    replay(path.with_suffix(""), episodes)
    with zipfile.ZipFile(path, "w") as file:
        for part in sorted(path.with_suffix("").rglob("*")):
            if part.is_file():
                file.write(part, part.relative_to(path.with_suffix("")))
    return path


def npz(path: Path, episodes, **extra) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"action": np.concatenate([a for a, _ in episodes]), "state": np.concatenate([s for _, s in episodes])}
    np.savez(path, episode_lengths=[len(a) for a, _ in episodes], **{**arrays, **extra})
    return path


FORMATS = {
    "v2.1": lambda folder, data: lerobot(folder / "v21", data, version="v2.1"),
    "v3.0": lambda folder, data: lerobot(folder / "v3", data, version="v3.0"),
    "robomimic": lambda folder, data: hdf5(folder / "demos.hdf5", data),
    "zarr": lambda folder, data: replay(folder / "buffer.zarr", data),
    "zarr zip": lambda folder, data: zipped(folder / "buffer.zarr.zip", data),
    "npz": lambda folder, data: npz(folder / "data.npz", data),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_back_the_frames_that_were_written(tmp_path, form):
    data = demos()
    found = open_demonstrations(FORMATS[form](tmp_path, data))
    pieces = list(found.read())
    assert (found.frames, found.episodes) == (sum(LENGTHS), len(LENGTHS))
    np.testing.assert_allclose(np.concatenate([p.action for p in pieces]), np.concatenate([a for a, _ in data]))
    np.testing.assert_allclose(np.concatenate([p.state for p in pieces]), np.concatenate([s for _, s in data]))
    assert np.concatenate([p.episode for p in pieces]).tolist() == np.repeat(range(3), LENGTHS).tolist()
    assert len(list(found.read())) == len(pieces)  # it can be read again


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


def test_other_keys_can_be_named(tmp_path):
    path = hdf5(tmp_path / "demos.hdf5", demos(), key="delta")
    assert open_demonstrations(path, action="delta", state="eef").frames == sum(LENGTHS)


# --- statistics ---


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 1000))
def test_moments_merged_over_pieces_are_those_of_the_whole(sizes, seed):
    pieces = [np.random.default_rng(seed + k).normal(1e4, 1, (n, 2)) for k, n in enumerate(sizes)]
    found, whole = pooled([Moments.of(p) for p in pieces]), np.concatenate(pieces)
    np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, whole.std(0), rtol=1e-6, atol=1e-9)
    assert found.low.tolist() == whole.min(0).tolist() and found.high.tolist() == whole.max(0).tolist()


def test_the_sample_is_of_distinct_frames_and_all_of_them_when_few(tmp_path):
    opened = open_demonstrations(npz(tmp_path / "d.npz", demos(lengths=(30, 20))))
    few = summarised(opened, sample=7, seed=0)
    assert len(few.sample_action) == 7 and len(np.unique(few.sample_action[:, 0])) == 7
    assert len(summarised(opened, sample=1000, seed=0).sample_action) == 50
    assert few.lengths.tolist() == [30, 20] and few.action.count == 50


# --- the report ---


@pytest.fixture
def pair(tmp_path):
    """A small target and a larger source shifted by one deviation."""
    target = lerobot(tmp_path / "real", demos(0, (10, 12, 8)), version="v3.0")
    return target, npz(tmp_path / "sim.npz", demos(1, (100,) * 4, shift=1.0))


def test_the_numbers_are_those_of_the_data(pair):
    found = advice(source=[pair[1]], target=pair[0], batch_size=16, ratios=[0.1, 0.5])
    target, source = (
        np.concatenate([a for a, _ in d]) for d in (demos(0, (10, 12, 8)), demos(1, (100,) * 4, shift=1.0))
    )
    assert [d["frames"] for d in found["datasets"]] == [30, 400]
    assert found["datasets"][0]["episode_frames"] == {"min": 8, "median": 10.0, "max": 12}
    assert found["ratio"]["natural"] == pytest.approx(30 / 430)
    assert found["ratio"]["upper"] == pytest.approx(math.sqrt(30 / 400))
    row = found["action_shift"][1]
    assert row["name"] == "y" and row["target_mean"] == pytest.approx(target[:, 1].mean(), abs=1e-5)
    spread = math.sqrt((target[:, 1].var() + source[:, 1].var()) / 2)
    assert row["shift"] == pytest.approx((source[:, 1].mean() - target[:, 1].mean()) / spread, abs=1e-4)
    assert row["pooled_std"] == pytest.approx(np.concatenate([target, source])[:, 1].std(), rel=1e-4)
    assert [b["ratio"] for b in found["batches"]] == [0.1, 0.5]
    assert 0 < found["density_ratio"]["ess_share"] < 1 and found["density_ratio"]["domain_accuracy"] > 0.6
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_at_full_noise_domains_overlap_and_the_target_counts_its_ratio(pair):
    found = advice(source=[pair[1]], target=pair[0], ratios=[0.0, 0.2, 1.0])
    shares = {curve["ratio"]: curve["share"] for curve in found["contribution"]["curves"]}
    assert shares[0.0][-1] == 0.0 and shares[1.0][0] == 1.0
    assert shares[0.2][-1] == pytest.approx(0.2, abs=0.02)
    assert found["overlap"]["bhattacharyya"][-1] > 0.98
    assert found["overlap"]["bhattacharyya"][0] < found["overlap"]["bhattacharyya"][-1]


def test_several_sources_are_described_apart_and_counted_together(pair, tmp_path):
    other = npz(tmp_path / "other.npz", demos(2, (50,)))
    found = advice(source=[pair[1], other], target=pair[0])
    assert found["ratio"]["natural"] == pytest.approx(30 / 480)
    assert {row["source"] for row in found["action_shift"]} == {"sim", "other"}


@pytest.mark.parametrize(("ratio", "size"), [(0.1, 16), (0.016, 64), (0.5, 8), (0.05, 30)])
def test_the_share_of_poor_batches_is_that_of_drawn_ones(ratio, size):
    told, is_target = batches(ratio, batch_size=size, enough=2, source=2000, target=200), np.arange(2200) < 200
    sampler = MixedBatchSampler(is_target, size, ratio)
    exact = np.mean([is_target[sampler.batch(k)].sum() < 2 for k in range(300)])
    assert told["too_few_exact"] == pytest.approx(exact, abs=0.02)
    draws = np.random.default_rng(0).binomial(size, ratio, 20_000)
    assert told["too_few_independent"] == pytest.approx((draws < 2).mean(), abs=4 * 0.5 / math.sqrt(20_000))
    assert told["none_independent"] == pytest.approx((draws < 1).mean(), abs=4 * 0.5 / math.sqrt(20_000))
    assert told["batches_per_epoch"] == len(sampler)
    assert told["target_passes"] == pytest.approx(sampler.passes()["target"], rel=0.02, abs=0.02)


def said(found) -> str:
    return " ".join(f"{item['do']} {item['because']}" for item in found["advice"])


def test_units_and_normalisation_that_differ_are_called_out(tmp_path, pair):
    in_degrees = [(a * 57.3, s) for a, s in demos(3, (40, 40))]
    assert "degrees against radians" in said(advice(source=[npz(tmp_path / "deg.npz", in_degrees)], target=pair[0]))
    unit = npz(tmp_path / "unit.npz", [(np.tanh(a) * 0.2, s) for a, s in demos(4, (40, 40))])
    assert "one of them looks normalised already" in said(advice(source=[unit], target=pair[0]))
    still = npz(tmp_path / "still.npz", [(a * [1, 0], s) for a, s in demos(5, (40, 40))])
    assert "Constant: y (still)" in said(advice(source=[still], target=pair[0]))
    assert "Bring the actions" not in said(advice(source=[pair[1]], target=pair[0]))


def test_a_target_larger_than_its_source_starts_at_a_half(pair):
    assert "Start at a ratio of 0.5" in said(advice(source=[pair[0]], target=pair[1]))


# --- the command ---


@pytest.fixture
def command():
    typer, testing = pytest.importorskip("typer"), pytest.importorskip("typer.testing")
    from cotrain_losses.cli.advise.command import advise

    app = typer.Typer()
    app.command()(advise)
    return lambda *words: testing.CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_prints_tables_or_json_and_writes_files(command, pair, tmp_path):
    asked = ["--target", pair[0], "--source", pair[1], "--batch-size", 16]
    shown = command(*asked, "--out", tmp_path / "out")
    assert shown.exit_code == 0 and "Search the ratio between" in shown.output and "natural" in shown.output
    assert (tmp_path / "out" / "advise.png").read_bytes().startswith(b"\x89PNG")
    html = (tmp_path / "out" / "advise.html").read_text()
    assert "data:image/png;base64," in html and 'src="http' not in html
    assert "prefers-color-scheme: dark" in html and html.count("<table>") == html.count('class="wide"') > 4
    assert "Search the ratio between" in html
    printed = command(*asked, "--json")
    assert json.loads(printed.stdout) == json.loads((tmp_path / "out" / "advise.json").read_text())


def test_a_name_is_text_on_the_page_whatever_it_holds(command, pair, tmp_path):
    path = npz(tmp_path / "<script>sim.npz", demos(1, (100,), shift=9.0))
    command("--target", pair[0], "--source", path, "--out", tmp_path / "out")
    html = (tmp_path / "out" / "advise.html").read_text()
    assert "&lt;script&gt;sim" in html and "<script>" not in html


def test_what_cannot_be_read_is_one_sentence(command, pair, tmp_path):
    failed = command("--target", pair[0], "--source", tmp_path / "nowhere")
    assert failed.exit_code == 1 and failed.output.startswith("cotrain advise: ") and "does not exist" in failed.output
    assert "Traceback" not in failed.output


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


def test_a_missing_source_and_a_missing_ratio_are_errors(pair):
    with pytest.raises(ValueError, match="at least one source"):
        advice(source=[], target=pair[0])
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        advice(source=[pair[1]], target=pair[0], ratios=[3.0])
