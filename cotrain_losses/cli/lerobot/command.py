"""`cotrain lerobot-train` and `cotrain export`: their options, each handed to one function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .settings import Refused, Settings

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": False}


def lerobot_train(
    context: typer.Context,
    target: Annotated[str, typer.Option(help="Dataset of the domain the policy is for: a folder or a Hub id.")] = "",
    source: Annotated[list[str] | None, typer.Option(help="Dataset of a source domain; repeat for more.")] = None,
    ratio: Annotated[str, typer.Option(help="The target's share: 0.1, real=0.1,sim=0.9, or 0.5@0,0.1@5000.")] = "",
    method: Annotated[str, typer.Option(help="A recipe by name: cfg(scale=1.0), ot + cfg [cotraining].")] = "",
    rename: Annotated[list[str] | None, typer.Option(help="OLD=NEW or NAME:OLD=NEW, a feature or a camera.")] = None,
    episodes: Annotated[list[str] | None, typer.Option(help="NAME=0-19,25: the episodes of a dataset.")] = None,
    stats: Annotated[str, typer.Option(help="Normalise by: target, pooled or per-domain [pooled].")] = "",
) -> None:
    """Run LeRobot's own training script on several datasets, mixed by a method.

        cotrain lerobot-train --target my/real --source my/sim --ratio 0.1 --method cfg -- --policy.type=diffusion

    Everything after -- is LeRobot's.  To resume: cotrain lerobot-train -- --resume=true --config_path=...
    """
    from .launch import train

    lists = {"source": source or [], "rename": rename or [], "episodes": episodes or []}
    given: dict[str, Any] = {"target": target, "ratio": ratio, "method": method, "stats": stats}
    given |= {name: tuple(values) for name, values in lists.items()}
    try:
        train(_settings(given, context.args), context.args)
    except Refused as error:
        typer.echo(f"cotrain lerobot-train: {error}", err=True)
        raise typer.Exit(1) from error


def _settings(given: dict[str, Any], arguments: list[str]) -> Settings:
    """As given; of a run that is resumed, as its checkpoint says where nothing is given."""
    from .files import read_settings

    resumed = next((a.partition("=")[2] for a in arguments if a.startswith("--config_path=")), "")
    folder = Path(resumed).parent if resumed.endswith(".json") else Path(resumed)
    if resumed and (text := read_settings(folder)) is not None:
        return Settings.of(text, **given)
    known = {name: value for name, value in given.items() if value}
    return Settings(**{"target": "", "source": (), **known})


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of lerobot-train: its folder or pretrained_model.")],
    out: Annotated[Path, typer.Option(help="Folder of the exported checkpoint.")],
    bare: Annotated[bool, typer.Option("--bare", help="Leave the method's guidance out.")] = False,
) -> None:
    """Write a checkpoint for deployment: one that stock LeRobot loads, or a guided one that names its plugin."""
    from .export import exported

    try:
        typer.echo(exported(checkpoint, out, bare))
    except (ValueError, OSError) as error:
        typer.echo(f"cotrain export: {error}", err=True)
        raise typer.Exit(1) from error
