"""The command line teaches, loads nothing it does not need, and ends in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from cotrain_losses.cli import EXTRAS, missing
from cotrain_losses.cli.commands import app


def in_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def bench(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", "sim2sim", *arguments])
    return result.exit_code, result.output.strip()


def test_help_lists_the_commands_and_loads_no_simulator_and_no_plots():
    code = (
        "import sys, cotrain_losses.cli.commands as c\n"
        "try: c.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'metaworld', 'mujoco', 'matplotlib', 'scipy', 'ot', 'geomloss'} & set(sys.modules)))"
    )
    result = in_python(code)
    assert "bench" in result.stdout and result.stdout.strip().endswith("[]"), result.stderr


def test_the_help_of_a_benchmark_names_its_choices():
    code, text = bench("--help")
    assert code == 0
    for word in ("demo", "smoke", "visual-control", "cfg_adda", "target samples", "COTRAIN_CACHE", "Example"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "x"], "a preset is one of demo, smoke, got 'x'."),
        (["--task", "x"], "button-press, nut-assembly, got 'x'."),
        (["--gap", "x"], "visual-control, hard, camera-10, camera-25, camera-40, camera-55, camera-70, got 'x'."),
        (["--methods", "adda,x,y"], "annealed, cameras, cameras_told, got 'x'."),
        (["--methods", "adda,adda"], "a run compares one or more different methods"),
        (["--ratio", "9"], "ratio is the share of target samples and lies in [0, 1], got 9.0."),
        (["--steps", "0"], "steps counts optimizer steps from 1, got 0."),
        (["--episodes", "0"], "episodes counts from 1, got 0."),
        (["--seed", "-1"], "seed lies in [0, 999]"),
        (["--executor", "x"], "an executor is one of local, slurm, got 'x'."),
        (["--slurm", "time=3"], "--slurm is what jobs of --executor slurm ask for, got 'time=3' with local."),
        (["--so-far"], "--so-far reports the finished cells of a study, got no study."),
        (["--device", "cuda:9"], "--device names a device that torch"),
        (["--export", "rlds"], "an export is one of lerobot, robomimic, got 'rlds'."),
    ],
)
def test_a_wrong_choice_ends_in_one_sentence_with_the_right_ones(arguments, sentence):
    code, text = bench(*arguments)
    assert code == 1 and sentence in text and len(text.splitlines()) == 1


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_the_command_lines_own_extra_the_sentence_says_how_to_install_it(module):
    result = in_python(f"import sys; sys.modules['{module}'] = None\nfrom cotrain_losses.cli import main; main()")
    assert result.returncode == 1
    assert result.stderr.strip() == (
        f"This command needs the package {module}, which is not installed.\n"
        'Install it with: pip install "cotrain-losses[cli]"'
    )


@pytest.mark.parametrize("command", ["sim2sim", "toy", "special-cases", "peers", "estimators"])
def test_a_benchmark_whose_results_cannot_be_written_ends_before_it_computes(command, tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["bench", command, "--out", str(tmp_path / "file" / "out")])
    (line,) = result.output.strip().splitlines()
    assert result.exit_code == 1 and line.endswith("file: Not a directory. Pass another as --out.")


def test_caches_of_libraries_that_cannot_be_written_stop_no_command(tmp_path):
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "MPLCONFIGDIR", "HF_HOME"), "/dev/null/x")
    np.savez(path := tmp_path / "a.npz", action=np.random.default_rng(0).normal(size=(40, 2)), episode_lengths=[10] * 4)
    parts = [f"{path}::episodes={part}" for part in ("0-1", "2-3")]
    arguments = ["advise", "--target", parts[0], "--source", parts[1], "--out", str(tmp_path / "out")]
    code, there = "from cotrain_losses.cli import main; main()", {**os.environ, **nowhere}
    ran = subprocess.run([sys.executable, "-c", code, *arguments], env=there, capture_output=True, text=True)
    assert ran.returncode == 0 and "Traceback" not in ran.stderr
    assert "MPLCONFIGDIR" in ran.stderr  # matplotlib's own sentence; it goes on in another folder


def test_without_the_simulator_the_benchmark_says_how_to_install_it(tmp_path):
    code = "import sys; sys.modules['metaworld'] = None\nfrom cotrain_losses.cli import main; main()"
    result = in_python(code, "bench", "sim2sim", "--preset", "smoke", "--out", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-2:] == [
        "This command needs the package metaworld, which is not installed.",
        'Install it with: pip install "cotrain-losses[bench]"',
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["peers", "--sizes", "a,b"], "--sizes are numbers from 1 to 65536, comma-separated, got 'a,b'."),
        (["peers", "--sizes", ""], "--sizes are numbers from 1 to 65536"),
        (["peers", "--sizes", "8,-5"], "--sizes are numbers from 1 to 65536"),
        (["peers", "--widths", "0"], "--widths are numbers from 1 to 65536"),
        (["peers", "--widths", "1" + "0" * 6000], "--widths are numbers from 1 to 65536"),
        (["peers", "--losses", "mmd,x"], "a loss is one of balanced, unbalanced, divergence, exact, mmd, got 'x'."),
        (["peers", "--torch-peers", "none"], "--torch-peers is a Python that can be run, got 'none', which cannot."),
        (["overhead", "--device", "x"], "a device is one of cpu, cuda, got 'x'."),
        (["estimators", "--peers", "none"], "--peers is a Python that can be run, got 'none', which cannot."),
    ],
)
def test_a_setting_that_cannot_be_ends_a_measurement_in_one_sentence(arguments, sentence, tmp_path):
    ran = CliRunner().invoke(app, ["bench", *arguments, "--out", str(tmp_path)])
    assert ran.exit_code == 1 and isinstance(ran.exception, SystemExit)
    assert sentence in ran.output and ran.output.count("\n") == 1


def test_a_module_that_no_extra_brings_is_a_defect_and_keeps_its_traceback():
    with pytest.raises(ModuleNotFoundError):
        missing(ModuleNotFoundError("no", name="cotrain_losses.nothing"))


def test_every_extra_that_a_sentence_names_exists():
    from importlib import metadata

    assert set(EXTRAS.values()) <= set(metadata.metadata("cotrain-losses").get_all("Provides-Extra"))
