"""`cotrain doctor` says what is there, and fails where a device does."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from typer.testing import CliRunner

from cotrain_losses.cli import doctor
from cotrain_losses.cli.commands import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    return result.exit_code, result.output


def test_the_report_names_versions_devices_extras_and_codebases() -> None:
    status, said = run("--json")
    report = json.loads(said)
    assert status == 0
    assert report["versions"]["torch"] == torch.__version__ == metadata.version("torch")
    assert report["devices"]["cpu"].startswith("ok")
    assert set(report["extras"]) == set(metadata.metadata("cotrain-losses").get_all("Provides-Extra") or [])
    assert "DiffusionPolicy" in report["codebases"]["lerobot"]


def test_the_text_says_the_same() -> None:
    _, said = run()
    assert [line for line in said.splitlines() if line and line[0] != " "] == [
        *("versions", "devices", "drawing", "extras", "codebases")
    ]
    assert f"  torch: {torch.__version__}" in said.splitlines()


def test_an_extra_that_is_not_whole_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "typer":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert doctor.examined()["extras"]["cli"] == "without typer"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (RuntimeError("no kernel image\nmore"), "RuntimeError: no kernel image"),
        (ValueError(), "ValueError:"),
        (AssertionError("\n"), "AssertionError:"),
        ("nan", "not finite"),
    ],
)
def test_a_device_on_which_a_term_fails_ends_the_command_with_status_1(
    monkeypatch: pytest.MonkeyPatch, broken: Exception | str, told: str
) -> None:
    def term(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if isinstance(broken, Exception):
            raise broken
        return (a.sum() + b.sum()) * float("nan")

    monkeypatch.setattr(doctor, "MMD", lambda: term)
    status, said = run()
    assert status == 1
    assert "  cpu: failed" in said and told in said and "more" not in said


def test_a_driver_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    drawing = doctor.examined()["drawing"]
    assert list(drawing) == ["MUJOCO_GL=nonsense"] and drawing["MUJOCO_GL=nonsense"].startswith("failed")


def test_the_version_is_that_of_the_distribution() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cotrain_losses.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"cotrain {metadata.version('cotrain-losses')}"
