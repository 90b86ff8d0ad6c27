"""Break the library on purpose and see whether its tests say so; `make mutants`.

    python -m tests.tools.mutants --seed 0 --count 200 [--rooms terms/mmd mixing] [--again] [--page docs/mutants.md]

Each mutant (mutate.py) is one change of one file, tried in a copy of the tree with the tests that fit the file's room,
two at a time, until the first test fails.  A mutant whose tests hang is killed: they would never pass.  What was tried
is kept in .mutants/results.jsonl, so a run that is cut off goes on where it was; a file that has changed is tried anew.
Which mutants are chosen depends on the seed, the path and the change only: the first 60 of a room stay the first 60.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from .mutants_page import identity, page, reasons
from .mutate import Mutant, mutants
from .server import BROKEN, Server

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".mutants" / "results.jsonl"
LIMIT = 300.0
"""seconds that the tests of one mutant may take"""
ROOMS = {
    "terms/transport": ("test_transport*.py", "test_terms*.py"),
    "terms/mmd": ("test_mmd*.py", "test_terms*.py"),
    "mixing": ("test_mixing*.py", "test_pair*.py"),
    "guidance.py": ("test_guidance*.py", "test_cotrain*.py"),
    "strength": ("test_strength*.py", "test_term.py"),
    "policy": (
        "test_policy*.py",
        "test_cotrain*.py",
        "test_step*.py",
        "test_adapters*.py",
        "test_install*.py",
        "test_life*.py",
    ),
}
"""each room with the tests that fit it, the most fitting first"""
FIRST = {
    "costs": "test_transport_cost.py",
    "divergence": "test_transport_divergence.py",
    "online": "test_transport_divergence.py",
    "exact": "test_transport_exact.py",
    "unbalanced": "test_transport_exact.py",
    "fixed": "test_transport_solver.py",
    "newton": "test_transport_solver.py",
    "pairing": "test_pairing.py",
    "watch": "test_diagnostics_policy.py",
    "gather": "test_gather.py",
}
"""files, or folders of files, with the tests to begin with"""


def main() -> None:
    """Try the mutants and write the page."""
    asked = _arguments()
    chosen = choose(asked.rooms, asked.seed, asked.count)
    known = _known(again=asked.again)
    left = [(room, mutant) for room, mutant in chosen if mutant.digest not in known]
    print(f"{len(chosen)} mutants, {len(left)} to try", flush=True)
    known |= _tried(left, asked.processes)
    results = [known[mutant.digest] for _, mutant in chosen]
    _tell(results)
    if asked.page:
        Path(asked.page).write_text(page(results, seed=asked.seed, commit=_commit()))


def choose(rooms: list[str], seed: int, count: int) -> list[tuple[str, Mutant]]:
    """The first `count` mutants of the rooms, in an order that the seed alone decides."""
    every = [(room, mutant) for room in rooms for path in _files(room) for mutant in mutants(path, ROOT)]

    def order(chosen: tuple[str, Mutant]) -> str:
        return hashlib.sha256(f"{seed}\0{chosen[1].key}".encode()).hexdigest()

    return sorted(every, key=order)[:count]


def _files(room: str) -> list[Path]:
    place = ROOT / "cotrain_losses" / room
    return [place] if place.is_file() else sorted(place.glob("**/*.py"))


def _commit() -> str:
    """The last commit that changed the library: what is said of the mutants is said of its code."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", "cotrain_losses"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _known(*, again: bool) -> dict[str, dict[str, Any]]:
    """What was tried before, without the survivors where they are to be tried again: those without a reason."""
    if not RESULTS.exists():
        return {}
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {row["digest"]: row for row in rows if row["killed"] or not again or identity(row) in reasons()}


def _tried(left: list[tuple[str, Mutant]], processes: int) -> dict[str, dict[str, Any]]:
    RESULTS.parent.mkdir(exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        servers: SimpleQueue[Server] = SimpleQueue()
        for k in range(processes):
            servers.put(Server(_copy(Path(folder) / str(k))))
        with ThreadPoolExecutor(processes) as pool, RESULTS.open("a") as kept:
            for row in pool.map(lambda each: _try(*each, servers), left):
                found[row["digest"]] = row
                print(json.dumps(row), file=kept, flush=True)
                print(_line(row), flush=True)
    return found


def _copy(place: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".*", "integration*", "docs", "runs")
    for name in ("cotrain_losses", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, place)
    return place


def _try(room: str, mutant: Mutant, servers: SimpleQueue[Server]) -> dict[str, Any]:
    server = servers.get()
    path = server.copy / mutant.path
    original = path.read_text()
    try:
        path.write_text(mutant.source)
        how = _how(*server.run(_tests(server.copy, room, mutant), LIMIT))
    finally:
        path.write_text(original)
        servers.put(server)
    told = {name: getattr(mutant, name) for name in ("digest", "path", "line", "operator", "before", "after")}
    return {"room": room, **told, "how": how, "killed": how != "survived"}


def _tests(copy: Path, room: str, mutant: Mutant) -> list[str]:
    first = [FIRST[part] for part in Path(mutant.path).with_suffix("").parts if part in FIRST]
    found = [path for pattern in (*first, *ROOMS[room]) for path in sorted((copy / "tests").glob(pattern))]
    return [str(path.relative_to(copy)) for path in dict.fromkeys(found)]


def _how(status: int | None, said: str) -> str:
    """What the tests came to: "survived", "too slow", or the test that failed."""
    if status is None:
        return "too slow"
    if status in (3, 4, 5, BROKEN):  # pytest itself failed, was called wrongly, or found no tests
        raise RuntimeError(f"the tests could not be run, status {status}:\n{said[-2000:]}")
    if status == 0:
        return "survived"
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0].removeprefix("FAILED ").removeprefix("ERROR ") if failed else "does not start"


def _line(row: dict[str, Any]) -> str:
    return f"{row['path']}:{row['line']}  {row['before'][:60]}  ->  {row['after'][:60]}   {row['how']}"


def _tell(results: list[dict[str, Any]]) -> None:
    killed = sum(row["killed"] for row in results)
    print("\n".join(["", "Survivors:", *(_line(row) for row in results if not row["killed"])]))
    print(f"{killed} of {len(results)} mutants killed ({100 * killed / max(len(results), 1):.1f} %)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rooms", nargs="+", choices=list(ROOMS), default=list(ROOMS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="try the survivors that have no reason again")
    parser.add_argument("--page", default="", help="where to write the table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
