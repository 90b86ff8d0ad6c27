"""What `cotrain` can do: each command reads its options and calls one function."""

from __future__ import annotations

from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from .advise.command import advise
from .demo_data import demo_data
from .diagnose import diagnose
from .doctor import doctor
from .lerobot.command import PASSED_ON, export, lerobot_train
from .which import which

app = typer.Typer(
    name="cotrain",
    help="Co-train robot policies on two domains: choose a method, train, and see what it did.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"cotrain {version('cotrain-losses')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of the command itself."""


app.command(rich_help_panel="Before and after training")(advise)
app.command(rich_help_panel="Before and after training")(diagnose)
app.command(rich_help_panel="Before and after training")(which)
app.command("lerobot-train", context_settings=PASSED_ON, rich_help_panel="LeRobot")(lerobot_train)
app.command(rich_help_panel="LeRobot")(export)
app.command(rich_help_panel="Try and report")(demo_data)
app.command(rich_help_panel="Try and report")(doctor)
for plugin in entry_points(group="cotrain_losses.commands"):
    app.add_typer(plugin.load(), name=plugin.name, rich_help_panel="Measure")
