"""The quick tier, and every term, weight and recipe, on a device that any machine has."""

from __future__ import annotations

import re
import subprocess
import sys

from cotrain_bench.gpu.suite import TIER


def main() -> None:
    """Run pytest there, and say how many tests hold."""
    files = [f"tests/test_{name}.py" for name in ("device", *TIER)]
    command = [sys.executable, "-m", "pytest", "--tb=line", "-p", "no:cacheprovider", "--device", "elsewhere", *files]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    print(said)
    count = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|skipped|errors?)", said)}
    held, wrong = count.get("passed", 0), sum(n for kind, n in count.items() if kind not in ("passed", "skipped"))
    print(f"{held} of {held + wrong} tests hold on the stand-in device, {count.get('skipped', 0)} skipped")
    sys.exit(wrong > 0 or not held)


if __name__ == "__main__":
    main()
