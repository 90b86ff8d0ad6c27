"""The command `cotrain`: advise, diagnose, bench.

This file needs nothing but Python, so that a missing extra ends in one sentence and not in a traceback.
"""

from __future__ import annotations

import sys

EXTRAS = {
    **dict.fromkeys(("typer", "rich", "matplotlib", "scipy", "jinja2"), "cli"),
    **dict.fromkeys(("h5py", "pyarrow", "tfrecord", "zarr"), "data"),
    **dict.fromkeys(("metaworld", "mujoco", "gymnasium", "packaging", "filelock", "statsmodels"), "bench"),
    "submitit": "cluster",
    "tslearn": "dtw",
}
"""optional modules and the extra that brings each"""


def main() -> None:
    """Run `cotrain`; ends the process."""
    try:
        import rich  # noqa: F401  typer prints with it, and fails unreadably without

        from .commands import app
    except ModuleNotFoundError as error:
        sys.exit(missing(error))
    app()


def missing(error: ModuleNotFoundError) -> str:
    """What is missing and how to install it; raises the error again when it is not one of the extras' modules.

    >>> print(missing(ModuleNotFoundError(name="metaworld")))
    This command needs the package metaworld, which is not installed.
    Install it with: pip install "cotrain-losses[bench]"
    """
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        raise error
    return (
        f"This command needs the package {module}, which is not installed.\n"
        f'Install it with: pip install "cotrain-losses[{EXTRAS[module]}]"'
    )
