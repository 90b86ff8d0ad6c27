"""Every hostile input of `tests.hostile` through `cotrain advise`: a part of `make long`.

    python -m tests.tools.hostile [--only WORD]

Each runs in a process of its own.  It must be refused: exit code 1 and one sentence, within 10 seconds, under 1 GiB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.formats import demos, npz
from tests.hostile import CASES
from tests.tools.apart import End, apart


def main() -> None:
    """Run the cases that are asked for; the last line is the outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    asked = parser.parse_args()
    command, outcomes, slowest, largest = _command(), Counter[str](), 0.0, 0.0
    for name, write in CASES.items():
        if asked.only in name:
            end = _advised(command, write)
            outcomes[kind(end)] += 1
            slowest, largest = max(slowest, end.seconds), max(largest, end.mebibytes)
            if kind(end) != "refused":
                print(f"{name}: {kind(end)} ({end.seconds:.1f} s)\n{end.said[-1500:]}", flush=True)
    total, bad = outcomes.total(), outcomes.total() - outcomes["refused"]
    others = ", ".join(f"{outcomes[what]} {what}" for what in KINDS)
    most = f"at most {slowest:.1f} s, {largest:.0f} MiB"
    print(f"{total - bad} of {total} hostile inputs refused in one sentence: {others}; {most}")
    sys.exit(bool(bad))


KINDS = ("tracebacks", "crashes", "hangs", "silent acceptances", "others", "beyond 1 GiB")


def kind(end: End) -> str:
    """What came of one input."""
    if end.hangs:
        return "hangs"
    if end.status < 0:
        return "crashes"
    if "Traceback" in end.said or end.status == 70:
        return "tracebacks"
    if end.status == 0:
        return "silent acceptances"
    if end.mebibytes > 1024:
        return "beyond 1 GiB"
    refused = end.status == 1 and end.said.startswith("cotrain advise: ")
    return "refused" if refused or (end.status == 2 and "Invalid value for" in end.said) else "others"


def _command() -> Any:
    import torch  # noqa: F401  so that no child has to load it
    import typer

    import cotrain_losses.cli.advise.advice  # noqa: F401
    from cotrain_losses.cli.advise.command import advise

    app = typer.Typer()
    app.command()(advise)
    return app


def _advised(command: Any, write: Any) -> End:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "source")
        folder.mkdir()
        Path(name, "target").mkdir()
        target = npz(Path(name, "target", "real.npz"), demos(lengths=(20, 20)))
        source = write(folder)
        return apart(lambda: command(["--target", str(target), "--source", str(source)]))


if __name__ == "__main__":
    main()
