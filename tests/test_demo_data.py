"""`cotrain demo-data`: what it writes is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer

from cotrain_losses.cli.demo_data import demo_data, demonstrations
from cotrain_losses.datasets import open_demonstrations


def test_real_commands_are_those_of_simulation_turned_by_twenty_degrees() -> None:
    for name, angle in (("sim", 0.0), ("real", np.radians(20))):
        drawn = demonstrations(name, 40, seed=0)
        state, action = drawn["state"], drawn["action"]
        meant = state / 10 + 0.02 * np.sin(15 * state[:, ::-1])
        turned = np.angle(np.vdot(meant @ [1, 1j], action @ [1, 1j]))
        assert abs(turned - angle) < 0.02
        assert np.std(action @ [1, 1j] - np.exp(1j * angle) * (meant @ [1, 1j])) < 0.004


def test_the_files_are_datasets_that_the_commands_read(tmp_path, capsys) -> None:
    demo_data(tmp_path / "data", real=3, sim=5, seed=1)
    real, sim = (open_demonstrations(tmp_path / "data" / f"{name}.npz") for name in ("real", "sim"))
    assert (real.episodes, sim.episodes, real.frames) == (3, 5, 90)
    assert capsys.readouterr().out.count("wrote") == 2
    again = demonstrations("real", 3, seed=1)["action"]
    assert np.array_equal(np.concatenate([part.action for part in real.read()]), again)


def test_files_of_others_are_never_replaced_and_folders_are_refused_in_one_sentence(tmp_path, capsys) -> None:
    demo_data(tmp_path, real=1, sim=1)
    demo_data(tmp_path, real=1, sim=1)  # the same again
    held = (tmp_path / "sim.npz").read_bytes()
    (tmp_path / "real.npz").write_bytes(b"mine")
    (tmp_path / "folder/sim.npz").mkdir(parents=True)
    refused = {tmp_path: "which exists", tmp_path / "real.npz": "Not a directory", tmp_path / "folder": "which exists"}
    refused |= {tmp_path / ("x" * 300): "too long", Path("/proc/none"): "nothing can be written"}
    for out, words in refused.items():
        capsys.readouterr()
        with pytest.raises(typer.Exit):
            demo_data(out, real=2, sim=2)
        said = capsys.readouterr().err
        assert said.startswith("cotrain demo-data: ") and words in said and said.count("\n") == 1
    assert (tmp_path / "real.npz").read_bytes() == b"mine" and (tmp_path / "sim.npz").read_bytes() == held
