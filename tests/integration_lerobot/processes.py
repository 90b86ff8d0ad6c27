"""A run of LeRobot on two processes.

Where processes share by gloo, LeRobot's script now and then never ends, with our code or without: torch joins gloo's
thread while it holds Python's lock (ProcessGroupGloo's destructor), and that thread waits for the lock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"],
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", *("--num_processes=2", "--main_process_port=0", "-m")],
}
"""two processes, on the CPU too"""
END, PATIENCE = "End of training", 60.0


def printed(command: list[str], log: Path) -> str:
    """What a run printed that ended well, or that said it had ended and is still there after `PATIENCE` seconds."""
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True) as run:
        ended = float("inf")
        while run.poll() is None and time.monotonic() < ended + PATIENCE:
            time.sleep(0.5)
            if END in log.read_text():
                ended = min(ended, time.monotonic())
        hangs = run.poll() is None
        if hangs:
            os.killpg(run.pid, signal.SIGKILL)
    text = log.read_text()
    assert hangs or run.returncode == 0, text[-3000:]
    return text
