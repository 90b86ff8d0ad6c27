"""What `import cotrain_losses` costs over `import torch`, in CPU seconds.

    python -m cotrain_bench.import_time [--times 15]

Both are imported in new processes, one after the other, so that a busy machine slows both alike; medians are compared.
Wanted: at most 0.3 CPU s more than torch's own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from statistics import median

import typer

WANTED = 0.3
"""CPU seconds that the import may add to torch's"""


def main(times: int = 15) -> None:
    """Print both medians and their difference; ends with status 1 where it is more than wanted."""
    pairs = [(cpu_seconds("import torch"), cpu_seconds("import cotrain_losses")) for _ in range(times)]
    torch, ours = (median(column) for column in zip(*pairs, strict=True))
    added = median(both - alone for alone, both in pairs)
    print(f"torch {torch:.2f}, cotrain_losses {ours:.2f}, added {added:.2f} CPU s (wanted at most {WANTED})")
    sys.exit(added > WANTED)


def cpu_seconds(code: str) -> float:
    """The user and system time of a new Python that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    typer.run(main)
