"""`cotrain demo-data`: two small datasets to try the commands on.

A hand moves to a goal in a plane.  State (2,): from the hand to the goal.  Action (2,): the commanded step.  In metres.

    action = R(angle) [state / 10 + 0.02 sin(15 state')] + noise        state' the state with its axes exchanged

The angle is 0 in simulation and 20 degrees in the real domain: the commands differ, the states do not show it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .report import check_writable

ANGLE = {"sim": 0.0, "real": np.pi / 9}
"""radians between the plane's axes and those of the commands"""
FRAMES = 30


def demo_data(
    out: Annotated[Path, typer.Argument(help="Folder for real.npz and sim.npz.")],
    real: Annotated[int, typer.Option(min=1, max=100_000, help="Episodes in real.npz.")] = 4,
    sim: Annotated[int, typer.Option(min=1, max=100_000, help="Episodes in sim.npz.")] = 60,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of starts, goals and noise.")] = 0,
) -> None:
    """Write two small datasets, real.npz and sim.npz, to try the other commands on.

    A hand moves to a goal in a plane. The real domain's commands are turned by 20 degrees against the simulation's.
    """
    try:
        check_writable(out, "datasets are written to a folder", "Name another.")
        files = {out / f"{name}.npz": _file(name, n, seed) for name, n in (("real", real), ("sim", sim))}
        if others := [path for path, held in files.items() if path.exists() and not _holds(path, held)]:
            raise ValueError(f"datasets are written to new files, got {others[0]}, which exists. Name another folder.")
        out.mkdir(parents=True, exist_ok=True)
        for (path, held), episodes in zip(files.items(), (real, sim), strict=True):
            path.write_bytes(held)
            typer.echo(f"wrote {path}: {episodes} episodes of {FRAMES} frames")
    except (ValueError, OSError) as error:
        typer.echo(f"cotrain demo-data: {error}", err=True)
        raise typer.Exit(1) from None


def _file(name: str, episodes: int, seed: int) -> bytes:
    np.savez(made := io.BytesIO(), **demonstrations(name, episodes, seed))
    return made.getvalue()


def _holds(path: Path, held: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(held) and path.read_bytes() == held


def demonstrations(domain: str, episodes: int, seed: int) -> dict[str, Any]:
    """Arrays of a domain, "real" or "sim": state (n, 2), action (n, 2), episode_lengths (episodes,)."""
    rng = np.random.default_rng([seed, *domain.encode()])
    state = rng.uniform(-0.5, 0.5, (episodes, 2))
    cos, sin = np.cos(ANGLE[domain]), np.sin(ANGLE[domain])
    turn = np.array([[cos, -sin], [sin, cos]])
    states, actions = [], []
    for _ in range(FRAMES):
        step = state / 10 + 0.02 * np.sin(15 * state[:, ::-1])
        states.append(state)
        actions.append(step @ turn.T + rng.normal(0, 0.002, step.shape))
        state = state - step + rng.normal(0, 0.002, step.shape)
    stacked = (np.stack(each, axis=1).reshape(episodes * FRAMES, -1) for each in (states, actions))
    return {**dict(zip(("state", "action"), stacked, strict=True)), "episode_lengths": np.full(episodes, FRAMES)}
