"""A real Slurm cluster of one node on loopback, in a folder of its own; its three daemons are ended afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,sched_interval=1,batch_sched_delay=0
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=1
MinJobAge=60
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def node(here: Path, cpus: int = 4) -> Iterator[str]:
    """The node's name, while its daemons run; `SLURM_CONF` leads sbatch and the others to it.

    The daemons are children of this process and are ended whatever happens.
    """
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (here / name).mkdir(mode=0o755)
    conf, key = here / "slurm.conf", here / "munge.key"
    controller, daemon = _free_ports(2)
    conf.write_text(CONF.format(host=host, controller=controller, daemon=daemon, here=here, cpus=cpus))
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    os.environ["SLURM_CONF"] = str(conf)
    try:
        with ExitStack() as daemons:
            munged = ["munged", "--foreground", "--force", "--num-threads=2", f"--key-file={key}"]
            munged += [f"--{name}-file={here}/munged.{name}" for name in ("log", "pid", "seed")]
            daemons.enter_context(_running(here, [*munged, f"--socket={here}/munge.socket"]))
            _until(lambda: (here / "munge.socket").exists(), here)
            daemons.enter_context(_running(here, ["slurmctld", "-D", "-c", "-f", str(conf)]))
            daemons.enter_context(_running(here, ["slurmd", "-D", "-f", str(conf)]))
            _until(lambda: state(host) == "idle", here)
            daemons.callback(_empty_queue)
            yield host
    finally:
        os.environ.pop("SLURM_CONF", None)


def state(host: str) -> str:
    """What sinfo says of the node: idle, mixed, drained ..."""
    return slurm("sinfo", "--noheader", f"--nodes={host}", "--format=%T", check=False).strip()


def slurm(*command: str, check: bool = True) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60).stdout


def _empty_queue() -> None:
    """End what still runs, so that no job outlives its node."""
    slurm("scancel", "--full", "--signal=KILL", f"--user={os.getuid()}", check=False)
    slurm("scancel", f"--user={os.getuid()}", check=False)
    deadline = time.monotonic() + 10
    while slurm("squeue", "--noheader", check=False).strip() and time.monotonic() < deadline:
        time.sleep(0.1)


@contextmanager
def _running(here: Path, command: list[str]) -> Iterator[None]:
    with_us = ["setpriv", "--pdeathsig", "TERM"]  # ends even if this process is killed
    with (here / f"{command[0]}.out").open("w") as out:
        process = subprocess.Popen([*with_us, *command], stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until(ready, here: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            said = "\n".join(
                f"--- {p.name}\n{p.read_text(errors='replace')[-2000:]}" for p in here.glob("*.[ol][ou][tg]")
            )
            raise TimeoutError(f"the Slurm node did not come up in {seconds} s.\n{said}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in bound]
