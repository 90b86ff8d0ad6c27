"""`cotrain bench peers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def peers(
    out: Annotated[Path, typer.Option(help="Folder for results and report.")] = Path("results/peers"),
    torch_peers: Annotated[
        str | None, typer.Option(help="Interpreter that has torch, POT, geomloss and skada; default: this one.")
    ] = None,
    pytorch_adapt: Annotated[str | None, typer.Option(help="Interpreter that has pytorch-adapt.")] = None,
    ott_jax: Annotated[str | None, typer.Option(help="Interpreter that has ott-jax.")] = None,
    losses: Annotated[
        str, typer.Option(help="Losses to time, comma-separated.")
    ] = "balanced,unbalanced,divergence,exact,mmd",
    sizes: Annotated[str, typer.Option(help="Rows on each side, comma-separated.")] = "32,64,128,256,512,1024",
    widths: Annotated[str, typer.Option(help="Widths of the features, comma-separated.")] = "64,512",
    repeats: Annotated[int, typer.Option(min=5, help="Repetitions at n <= 128; fewer above, never under 5.")] = 31,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the rows.")] = 0,
    device: Annotated[
        str, typer.Option(help="`cpu`, or `cuda`, where KeOps, flash-sinkhorn and mdot-tnt are timed too.")
    ] = "cpu",
    failures: Annotated[
        bool, typer.Option("--failures", help="Time nothing; try inputs on which such losses fail.")
    ] = False,
) -> None:
    """Time the terms beside POT, geomloss, skada, pytorch-adapt and OTT-JAX, with the error of every gradient.

    One thread, CPU time, repetitions interleaved. A library that is missing or fails is a row that says so. Some
    cannot share an environment; give each its own interpreter:

    `python -m venv peers/a && peers/a/bin/pip install torch pot geomloss skada skorch einops`

    `python -m venv peers/b && peers/b/bin/pip install pytorch-adapt "setuptools<81"`

    `python -m venv peers/c && peers/c/bin/pip install ott-jax`

    With `--device cuda` the first also takes `pip install pykeops flash-sinkhorn mdot-tnt` (the last is licensed for
    non-commercial research).

    `--failures` instead tries every library on empty and single rows, half precision, sharp entropy and large costs,
    and sets what comes out against the definition.

    Example: `cotrain bench peers --torch-peers peers/a/bin/python --pytorch-adapt peers/b/bin/python --ott-jax
    peers/c/bin/python --out results/peers`
    """
    from ..terminal import cli_errors

    with cli_errors(out):
        from ..results import check_interpreters, check_one_of
        from ..terminal import show_table
        from .problems import LOSSES
        from .study import failure_table, study

        settings: dict[str, Any] = {"losses": losses.split(","), "repeats": repeats, "seed": seed, "device": device}
        settings |= {"sizes": _counts("sizes", sizes), "widths": _counts("widths", widths)}
        check_one_of("a device", device, ("cpu", "cuda"))
        for loss in settings["losses"]:
            check_one_of("a loss", loss, LOSSES)
        check_interpreters({"torch-peers": torch_peers, "pytorch-adapt": pytorch_adapt, "ott-jax": ott_jax})
        pythons = {"torch peers": torch_peers, "pytorch-adapt": pytorch_adapt, "OTT-JAX": ott_jax}
        if failures:
            show_table(failure_table(out, seed, pythons))
        else:
            show_table(study(out, settings, pythons)[0])
        typer.echo(str(out / "report.html"))


def _counts(name: str, text: str) -> list[int]:
    from ..results import WrongSetting

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word[:9]) <= 65536 and len(word) < 9 for word in words):
        raise WrongSetting(
            f"--{name} are numbers from 1 to 65536, comma-separated, got {text!r}. For one: --{name} 64."
        )
    return [int(word) for word in words]
