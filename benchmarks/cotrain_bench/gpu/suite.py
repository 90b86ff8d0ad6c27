"""The quick tier of the tests with the device as its own: how many passed, and what did not."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .machine import Machine, Row

TIER: tuple[str, ...] = ("term", "terms", "terms_groups", "pair", "flags", "mmd", "discriminator", "guidance")
TIER += tuple(f"transport_{part}" for part in ("cost", "divergence", "elsewhere", "entropic", "exact", "solver"))
OUTCOME = re.compile(r"^(\S*tests/\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)|(PASSED|FAILED|ERROR|SKIPPED) (\S*tests/\S+)")


def measured(on: Machine) -> Iterator[Row]:
    """Run pytest beside this checkout's `tests`, and count what it says while it runs."""
    root = next(
        (p for p in (Path.cwd(), *Path(__file__).resolve().parents) if (p / "tests" / "device.py").is_file()), None
    )
    if root is None or importlib.util.find_spec("pytest") is None or importlib.util.find_spec("hypothesis") is None:
        yield {"what": "tests", "status": "not run: needs pytest, hypothesis and the folder tests of a checkout"}
        return
    files = [f"tests/test_{name}.py" for name in (("pair",) if on.tiny else TIER)]
    shared = ["-n", "8"] if on.cuda and importlib.util.find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-vv", "--tb=line", "--device", on.device]
    command += [part for name in ("cacheprovider", "benchmark") for part in ("-p", f"no:{name}")]  # it warns beside -n
    yield from _run([*command, *shared, *files], root, on)


def _run(command: list[str], root: Path, on: Machine) -> Iterator[Row]:
    try:
        text = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=max(on.left(), 1)).stdout
        ended = "all of them ran"
    except subprocess.TimeoutExpired as late:
        text = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        ended = f"stopped after {on.limit:.0f} s"
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := OUTCOME.search(line):
            first, outcome, other, second = match.groups()
            found[first or second] = outcome or other
    count = {name: sum(o == name for o in found.values()) for name in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    wrong = count["FAILED"] + count["ERROR"]
    yield {
        "what": f"tests, {ended}",
        "status": "ok" if found else f"failed: {text[-300:]}",
        "figure": "tests that failed",
    } | {"value": wrong, "wanted": 0, "passed": count["PASSED"], "skipped": count["SKIPPED"]}
    said = [
        line for line in text.splitlines() if line.startswith(("SKIPPED [", "FAILED ", "ERROR ")) and "%]" not in line
    ]
    for line in said:
        yield {"what": line[:200], "status": "skipped" if line.startswith("SKIPPED") else "failed: a test"}
    for name in [] if said else [name for name, o in found.items() if o in ("FAILED", "ERROR")]:
        yield {"what": name[:200], "status": "failed: a test"}
