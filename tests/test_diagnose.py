"""The command: files in, JSON on stdout and nothing else, partial results kept, bad files named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from cotrain_losses.cli.diagnose import diagnose
from cotrain_losses.measures import Features, diagnosis

app = typer.Typer()
app.command()(diagnose)
QUICK = ["--rows", "60", "--repeats", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for side, shift in (("source", 0.0), ("target", 6.0)):
        for w in ("w0", "w0.1"):
            (tmp_path / side).mkdir(exist_ok=True)
            deep = rng.normal(size=(60, 4)) + (shift if w == "w0" else 0)
            layers = {"shallow": rng.normal(size=(60, 2, 3)) + shift, "deep": deep}
            np.savez(tmp_path / side / f"{w}.npz", **layers, groups=np.repeat([f"e{i}" for i in range(12)], 5))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_json_alone_is_printed_one_object_for_each_layer(folder):
    result = run("--target", folder / "target/w0.npz", "--source", folder / "source/w0.npz", "--json", *QUICK)
    found = json.loads(result.stdout)
    assert result.exit_code == 0 and list(found) == ["shallow", "deep"]
    for layer in found.values():
        assert isinstance(layer["alignment"]["wasserstein"], float)
        assert isinstance(layer["discernibility"]["accuracy"], float)
        assert layer["regime"] in ("disjoint", "structured", "overlapping", "uncertain")
    said = [line for line in result.stderr.splitlines() if " of 2, " in line]  # piped, so lines for bars
    assert [line.split(":")[0] for line in said] == ["w0 shallow", "w0 deep"]
    assert not (folder / "diagnosis").exists()


def test_one_layer_of_one_checkpoint_is_the_object_itself(folder):
    for side in ("target", "source"):
        np.save(folder / f"{side}.npy", np.load(folder / side / "w0.npz")["deep"])
    found = json.loads(run("--target", "target.npy", "--source", "source.npy", "--json", *QUICK).stdout)
    assert {"alignment", "discernibility", "regime"} <= set(found)


def test_two_lone_layers_under_two_names_are_compared_and_told(folder):
    for side, name in (("target", "decoder"), ("source", "encoder")):
        np.savez(folder / f"{side}.npz", **{name: np.load(folder / side / "w0.npz")["deep"]})
    result = run("--target", "target.npz", "--source", "source.npz", "--json", *QUICK)
    assert "alignment" in json.loads(result.stdout)
    assert "decoder of target.npz is compared with encoder of source.npz: the only layers there are" in result.stderr


def test_checkpoints_in_folders_give_a_page_a_figure_and_numbers_over_the_ratio(folder):
    result = run("--target", folder / "target", "--source", folder / "source", "--layer", "deep", *QUICK)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "diagnosis/diagnosis.json").read_text())
    assert [found[w]["ratio"] for w in ("w0", "w0.1")] == [0.0, 0.1]
    assert found["w0"]["alignment"]["wasserstein"] > found["w0.1"]["alignment"]["wasserstein"]
    page = (folder / "diagnosis/diagnosis.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "http" not in page
    assert "95 % intervals over episodes: n = 24." in page
    assert (folder / "diagnosis/diagnosis.png").read_bytes().startswith(b"\x89PNG")


def test_a_bad_layer_is_named_and_the_good_one_kept(folder):
    held = dict(np.load(folder / "target/w0.npz"))
    held["deep"][3, 1] = np.nan
    np.savez(folder / "target/w0.npz", **held)
    result = run("--target", folder / "target/w0.npz", "--source", folder / "source/w0.npz", "--json", *QUICK)
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert "1 rows of target with NaN or infinity, the first in row 3" in found["deep"]["error"]
    assert found["shallow"]["discernibility"]["accuracy"] > 0.9
    assert "deep" in result.stderr


def test_unequal_numbers_of_files_are_refused(folder):
    result = run("--target", folder / "target", "--source", folder / "source/w0.npz")
    assert result.exit_code == 2 and "got 2 target and 1 source files" in result.stderr


@pytest.mark.parametrize("name", ["objects.npy", "objects.npz", "objects.pt"])
def test_pickled_objects_are_refused(tmp_path, name):
    if name.endswith(".pt"):
        torch.save({"layer": torch.nn.Linear(2, 2)}, tmp_path / name)
    elif name.endswith(".npz"):
        np.savez(tmp_path / name, layer=np.array([{"a": 1}], dtype=object))
    else:
        np.save(tmp_path / name, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"pickled objects in .*refused"):
        layers = Features.read(tmp_path / name).layers
        raise layers["layer"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"1 2 3", "from .npy, .npz or .pt files, got a.txt"),
        ("a.npy", b"not numpy", "a.npy"),
        ("a.npz", b"not a zip", "a.npz"),
        ("a.pt", b"not torch", "a.pt"),
    ],
)
def test_files_of_the_wrong_kind_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        Features.read(tmp_path / name)


def test_what_is_saved_is_what_is_read(tmp_path):
    Features({"a": torch.ones(3, 2)}, torch.tensor([0, 0, 1])).save(tmp_path / "x.npz")
    torch.save({"a": torch.ones(3, 2), "episodes": torch.tensor([0, 0, 1])}, tmp_path / "x.pt")
    for name in ("x.npz", "x.pt"):
        read = Features.read(tmp_path / name)
        assert list(read.layers) == ["a"] and np.asarray(read.groups).tolist() == [0, 0, 1]


def test_a_collapsed_layer_is_a_finding_and_not_a_failure(folder):
    for side in ("source", "target"):
        held = dict(np.load(folder / side / "w0.npz"))
        np.savez(folder / side / "w0.npz", **held | {"deep": np.ones((60, 4))})
    result = run("--target", "target/w0.npz", "--source", "source/w0.npz", *QUICK)
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "diagnosis/diagnosis.json").read_text())["deep"]["regime"] == "collapsed"
    assert "collapsed" in result.stdout and "collapsed" in (folder / "diagnosis/diagnosis.html").read_text()


RANGES = [["--rows", 1], ["--repeats", 0], ["--repeats", 10**8], ["--neighbours", 0], ["--seed", -1], ["--seed", 2**63]]


@pytest.mark.parametrize("option", RANGES)
def test_options_have_ranges(folder, option):
    result = run("--target", "target/w0.npz", "--source", "source/w0.npz", *option)
    assert result.exit_code == 2 and option[0] in result.stderr and not (folder / "diagnosis").exists()


BAD = {
    "text": ({"deep": np.full((60, 4), "x")}, "real numbers, one row per sample"),
    "dates": ({"deep": np.zeros((60, 4), "datetime64[s]")}, "real numbers, one row per sample"),
    "records": ({"deep": np.zeros(60, [("x", "f4")])}, "real numbers, one row per sample"),
    "beyond float64": ({"deep": np.full((60, 4), np.longdouble("1e4000"))}, "features are finite"),
    "episodes that are no numbers": ({"groups": np.full(60, np.nan)}, "NaN or infinity in 60 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_layer_that_is_no_numbers_is_refused_in_one_sentence(folder, name):
    changed, sentence = BAD[name]
    np.savez(folder / "bad.npz", **{"deep": np.ones((60, 4))} | changed)
    result = run("--target", "bad.npz", "--source", "source/w0.npz", "--layer", "deep", "--json", *QUICK)
    assert result.exit_code == 1 and sentence in json.loads(result.stdout)["error"]


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


HEADERS = {
    "29 TiB": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 4), }\n",
    "an open bracket": "__import__('os').abort(",
    "no dictionary": "[1, 2]\n",
    "another type": "{'descr': '<q77', 'fortran_order': False, 'shape': (3, 4), }\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_file_whose_header_lies_is_named(folder, name):
    (folder / "bad.npy").write_bytes(header(HEADERS[name]) + bytes(100))
    result = run("--target", "bad.npy", "--source", "source/w0.npz", "--json", *QUICK)
    assert result.exit_code == 1 and "got bad.npy, which is damaged or another kind" in result.stderr


def test_numbers_of_any_byte_order_are_read(folder):
    for side in ("source", "target"):
        held = np.load(folder / side / "w0.npz")
        np.savez(folder / side / "big.npz", deep=held["deep"].astype(">f8"), groups=held["groups"])
    little, big = (
        run("--target", f"target/{n}.npz", "--source", f"source/{n}.npz", "--layer", "deep", "--json", *QUICK).stdout
        for n in ("w0", "big")
    )
    assert json.loads(little)["alignment"] == json.loads(big)["alignment"]


def test_one_file_is_no_two_domains(folder):
    result = run("--target", "target/w0.npz", "--source", folder / "target/../target/w0.npz")
    assert result.exit_code == 2 and "files of two domains" in result.stderr


@pytest.mark.parametrize("made", [torch.eye(4).to_sparse(), torch.empty(4, 4, device="meta")])
def test_features_without_values_of_their_own_are_refused(made):
    with pytest.raises(TypeError, match="dense and hold values"):
        diagnosis(made, torch.eye(4))


def test_a_file_that_is_missing_is_said_before_anything_is_measured_or_written(folder):
    result = run("--target", "target/w0.npz", "--source", "source/none.npz", "--out", "made")
    assert result.exit_code == 2 and "source/none.npz, which do not exist" in result.stderr
    assert not (folder / "made").exists()


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(folder, monkeypatch):
    monkeypatch.setattr("cotrain_losses.cli.diagnose.command.diagnosis", lambda *_, **__: pytest.fail("measured"))
    (folder / "taken").write_text("a file")
    result = run("--target", "target/w0.npz", "--source", "source/w0.npz", "--out", "taken/deeper")
    assert result.exit_code == 2 and "taken/deeper, where nothing can be written" in result.stderr


def test_layers_are_kept_as_they_are_measured(folder, monkeypatch):
    from cotrain_losses.cli.diagnose import command

    real, calls = command.diagnosis, []

    def interrupted(*sides, **options):
        calls.append(sides)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*sides, **options)

    monkeypatch.setattr(command, "diagnosis", interrupted)
    run("--target", "target/w0.npz", "--source", "source/w0.npz", *QUICK)
    kept = json.loads((folder / "diagnosis/diagnosis.json").read_text())
    assert kept["regime"] in ("disjoint", "structured", "overlapping", "uncertain")  # the first of the two layers


def test_a_layer_may_have_any_name(folder):
    names = ["arm[left].x [/] $x^", "_hidden\x1b[31m", "n" * 300]
    for side in ("source", "target"):
        held = np.load(folder / side / "w0.npz")["deep"]
        torch.save({name: torch.as_tensor(held) for name in names}, folder / f"{side}.pt")
    result = run("--target", "target.pt", "--source", "source.pt", "--rows", "20", "--repeats", "1")
    assert result.exit_code == 0, result.output
    assert list(json.loads((folder / "diagnosis/diagnosis.json").read_text())) == names
    for text in (result.stdout, (folder / "diagnosis/diagnosis.html").read_text()):
        assert "arm[left].x" in text and "[/]" in text and "\x1b[31m" not in text
