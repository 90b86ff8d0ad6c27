"""Triton's compiler makes code for real GPUs of every kernel, without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton.backends.nvidia", reason="Triton has no compiler for NVIDIA GPUs on this platform")


def test_every_kernel_compiles_for_two_generations_of_gpus_and_none_spills_its_registers():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "error", "-m", "tests.tools.kernels", "--tiles", "64"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("20 of 20 kernels compile")
