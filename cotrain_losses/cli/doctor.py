"""`cotrain doctor`: what is installed, what it can use, and whether a term runs there."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from typing import Annotated, Any

import torch
import typer

from ..policy.adapters import names
from ..terms import MMD, Sinkhorn

DISTRIBUTION = "cotrain-losses"
GL = "import mujoco; context = mujoco.GLContext(64, 64); context.make_current(); print('ok')"
SECONDS = 60


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a report of a problem.")] = False,
) -> None:
    """Say what is installed, which devices and extras there are, and whether a term runs on each device.

    Put its output into a report of a problem.
    """
    report = examined()
    print(json.dumps(report, indent=2) if as_json else _text(report))
    if any(line.startswith("failed") for line in report["devices"].values()):
        raise typer.Exit(1)


def examined() -> dict[str, dict[str, str]]:
    """Versions, devices, drawing, extras and codebases, each a name with one sentence."""
    return {
        "versions": _versions(),
        "devices": {device: _tried(device) for device in _devices()},
        "drawing": _drawing(),
        "extras": {extra: _extra(needed) for extra, needed in _extras().items()},
        "codebases": _codebases(),
    }


def _versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "platform": platform.platform(), DISTRIBUTION: _version(DISTRIBUTION)}
    return own | {name: _version(name) for name in ("torch", "einops", "geomloss", "pot", "triton")}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    cuda = [f"cuda:{k}" for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _tried(device: str) -> str:
    """Whether MMD and a Sinkhorn divergence have finite gradients on a device."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    try:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(n, 4, generator=generator).to(device).requires_grad_() for n in (6, 9))
        (MMD()(a, b) + Sinkhorn(blur=0.5)(a, b)).backward()
        finite = all(rows.grad is not None and bool(rows.grad.isfinite().all()) for rows in (a, b))
    except Exception as error:  # whatever a device or its driver raises is what there is to report
        return f"failed: {name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return f"ok: {name}" if finite else f"failed: {name}: a gradient of MMD or Sinkhorn is not finite"


def _drawing() -> dict[str, str]:
    """Whether MuJoCo can draw without a screen, tried in a process of its own: a broken driver can end the process."""
    chosen = os.environ.get("MUJOCO_GL", "egl")
    if importlib.util.find_spec("mujoco") is None:
        return {f"MUJOCO_GL={chosen}": 'not tried: mujoco is not installed (pip install "cotrain-losses[bench]")'}
    try:
        child = subprocess.run(
            [sys.executable, "-c", GL],
            env={**os.environ, "MUJOCO_GL": chosen},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {f"MUJOCO_GL={chosen}": f"failed: no answer in {SECONDS} s"}
    said = child.stderr.strip().splitlines() or [f"ended with status {child.returncode}"]
    return {f"MUJOCO_GL={chosen}": "ok" if child.returncode == 0 else f"failed: {said[-1]}"}


def _extras() -> dict[str, list[str]]:
    """Each extra with the distributions that it brings, from the metadata of what is installed."""
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires(DISTRIBUTION) or []:
        needed, _, marker = requirement.partition(";")
        extra = re.search(r"extra == [\"']([^\"']+)", marker)
        name = re.match(r"[A-Za-z0-9._-]+", needed.strip())
        if extra and name and name[0] != DISTRIBUTION:
            extras.setdefault(extra[1], []).append(name[0])
    return extras


def _extra(needed: list[str]) -> str:
    missing = [name for name in needed if _version(name) == "not installed"]
    return f"without {', '.join(missing)}" if missing else "complete"


def _codebases() -> dict[str, str]:
    """Each codebase with an adapter: its version, and the policies that are known."""
    known: dict[str, list[str]] = {}
    for package, policy in map(str.split, names()):
        known.setdefault(package, []).append(policy)
    return {package: f"{_version(package)}; adapters: {', '.join(policies)}" for package, policies in known.items()}


def _text(report: dict[str, Any]) -> str:
    parts = []
    for heading, rows in report.items():
        parts += [heading, *(f"  {name}: {value}" for name, value in rows.items()), ""]
    return "\n".join(parts).rstrip()
