"""`cotrain advise`: the report on a terminal, as JSON, or as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def advise(
    target: Annotated[Path, typer.Option(help="Dataset of the domain the policy is for.")],
    source: Annotated[list[Path], typer.Option(help="Dataset of a source domain; repeat for more.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Batch size of the training.")] = 64,
    ratio: Annotated[
        list[float] | None, typer.Option(help="Ratio to tabulate; repeat for more [search range, .5].")
    ] = None,
    enough: Annotated[int, typer.Option(min=1, help="Target rows that a batch needs.")] = 2,
    action_key: Annotated[str, typer.Option(help="Key of the actions, where it is not the format's own.")] = "",
    state_key: Annotated[str, typer.Option(help="Key of the states, where it is not the format's own.")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="Read datasets that are not whole, with a note.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    out: Annotated[Path | None, typer.Option(help="Directory for advise.json, advise.png and advise.html.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the frames that distances are measured on.")
    ] = 0,
) -> None:
    """Say what the datasets alone imply for co-training: ratio, shifts, overlap, batches.

    Reads LeRobot, robomimic, Minari, ALOHA, D4RL, zarr, RLDS and npz; never decodes video.  Settings of
    one dataset follow its path: `::domain=NAME`, `::episodes=0-49,60`, `::action=KEY`, `::state=KEY+KEY`.

        cotrain advise --target data/real --source data/sim --source data/other_robot --out advice
        cotrain advise --target merged::domain=real --source merged::domain=sim
    """
    from ..report import check_writable
    from .advice import advice
    from .render import text

    try:
        check_writable(out)
        settings: dict[str, Any] = {"batch_size": batch_size, "ratios": ratio, "enough": enough, "seed": seed}
        settings |= {"action_key": action_key or None, "state_key": state_key or None, "partial": partial}
        report = advice(source=source, target=target, **settings)
        written = _files(report, out) if out else []
    except (ValueError, OSError, ModuleNotFoundError) as error:
        typer.echo(f"cotrain advise: {error}", err=True)
        raise typer.Exit(1) from error
    for data in report["datasets"]:
        for note in data["notes"]:
            typer.echo(f"{data['name']}: {note}", err=True)
    if as_json:
        print(json.dumps(report, indent=1, allow_nan=False))
    else:
        text(report)
    for path in written:
        typer.echo(f"wrote {path}", err=True)


def _files(report: dict[str, Any], out: Path) -> list[Path]:
    from .figure import figure
    from .render import html

    out.mkdir(parents=True, exist_ok=True)
    data, png, page = (out / f"advise.{kind}" for kind in ("json", "png", "html"))
    data.write_text(json.dumps(report, indent=1, allow_nan=False), encoding="utf-8")
    figure(report).savefig(png, dpi=120)
    page.write_text(html(report, png), encoding="utf-8")
    return [data, png, page]
