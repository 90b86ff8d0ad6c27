"""python3 run.py [settings of cotrain_bench.gpu]: unpacks what this Python lacks into a temporary folder, and measures.

Nothing is installed, and nothing is fetched: the packages lie beside this file.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cotrain-gpu-") as folder:
        missing = [
            path for path in sorted((HERE / "packages").glob("*.zip")) if importlib.util.find_spec(path.stem) is None
        ]
        for path in missing:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        print(f"unpacked: {', '.join(path.stem for path in missing) or 'nothing'}", flush=True)
        known = [str(HERE / "own"), folder, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known)), "HF_HUB_OFFLINE": "1"}
        return subprocess.call([sys.executable, "-m", "cotrain_bench.gpu", *sys.argv[1:]], env=environment)


if __name__ == "__main__":
    sys.exit(main())
