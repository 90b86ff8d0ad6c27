"""Jobs of a Slurm cluster: submitit sends, runs and reads them.

Calls are sent as job arrays.  Which jobs live is asked of `squeue`, since not every cluster keeps the accounts that
submitit would read: a job that has left the queue without an answer has died.  Jobs that are preempted go back into the
queue by themselves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import UncompletedJobError, pickle_load
from submitit.slurm.slurm import SlurmInfoWatcher

from .results import CannotContinue
from .sweep import WorkerDied

DEFAULTS = {"time": 60, "mem": "4GB", "cpus_per_task": 1, "queued": 1000}
"""minutes and memory of a job, and how many jobs are in the queue or running at most"""

ASK, LATE = 20, 20.0
"""seconds between two calls of squeue at most, and that an answer may come after its job"""


def settings(text: str) -> dict[str, Any]:
    """What `--slurm` asks for, over the defaults.

    >>> settings("partition=cpu,time=120")
    {'time': 120, 'mem': '4GB', 'cpus_per_task': 1, 'queued': 1000, 'partition': 'cpu'}

    Raises:
        CannotContinue: something that is not a name=value pair.
    """
    pairs = [pair.strip() for pair in text.split(",") if pair.strip()]
    if wrong := [pair for pair in pairs if not re.fullmatch(r"\w+=.+", pair)]:
        raise CannotContinue(
            f"--slurm takes name=value pairs with commas between, got {wrong[0]!r}. "
            "For example: --slurm partition=cpu,time=120,mem=8GB"
        )
    given = (pair.split("=", 1) for pair in pairs)
    return {**DEFAULTS, **{name: int(value) if value.isdigit() else value for name, value in given}}


class Jobs:
    """Calls computed by Slurm jobs.

    Args:
        workers: jobs of an array that run at the same time.
        folder: where jobs find their call and leave their answer and log; seen by all nodes.
        text: see `settings`; names are those of sbatch with `_` for `-`.

    Raises:
        CannotContinue: no sbatch on this machine, or a name that sbatch does not know.
    """

    def __init__(self, workers: int, folder: str | Path, text: str = "") -> None:
        asked = settings(text)
        self._queued = int(asked.pop("queued"))
        self._slurm = _executor(folder, {"job_name": "cotrain", "array_parallelism": workers, **asked})
        self._waiting, self._sent = list[Call](), list[Call]()

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Call:
        """A call that is sent with others, once the queue has room for a good part of them."""
        self._waiting.append(Call(self._send, (function, *args)))
        return self._waiting[-1]

    def shutdown(self) -> None:
        """Nothing runs any more where every call has been answered."""

    def stop(self) -> None:
        """Cancel all jobs that are in the queue or running."""
        if ids := [call.job.job_id for call in self._sent if call.job and not call.settled]:
            subprocess.run(["scancel", *ids], check=False, capture_output=True)

    def _send(self) -> None:
        """Send the next array, when there is room for a good part of it; CannotContinue when Slurm does not take it."""
        self._sent = [call for call in self._sent if not call.settled]
        room = self._queued - len(self._sent)
        if not self._waiting or room < min(len(self._waiting), self._queued // 4 + 1):
            return
        some, self._waiting = self._waiting[:room], self._waiting[room:]
        try:
            with self._slurm.batch():
                jobs = [self._slurm.submit(_answer, *call.call) for call in some]
        except Exception as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise CannotContinue(f"Slurm did not take the jobs: {reason}") from error
        for call, job in zip(some, jobs, strict=True):
            call.job = _Job(self._slurm.folder, job.job_id)  # submitit's own would ask sacct
        self._sent += some


class Call:
    """A submitted call, to be asked as a future is; asking sends what waits."""

    def __init__(self, send: Callable[[], None], call: tuple[Any, ...]) -> None:
        self.call, self.settled = call, False
        self.job: submitit.Job[Any] | None = None
        self._send, self._ended = send, float("inf")

    def done(self) -> bool:
        """Whether there is an answer, or will be none."""
        if self.job is None:
            self._send()
        if self.job is None or not self.job.done():
            return False
        self._ended = min(self._ended, time.monotonic())
        return self.job.paths.result_pickle.exists() or time.monotonic() - self._ended > LATE

    def result(self) -> Any:
        """The answer; the job's files are removed, but for the log of one that went wrong.

        Raises:
            WorkerDied: when the job ended without an answer.
            Exception: what the call raised.
        """
        assert self.job is not None
        self.settled, paths = True, self.job.paths
        try:
            outcome, result = pickle_load(paths.result_pickle)
        except FileNotFoundError:
            outcome, result = "died", self.job.stderr() or ""
        error, value = result if outcome == "success" else (WorkerDied(_reason(self.job, result)), None)
        for path in (paths.submitted_pickle, paths.result_pickle, *((paths.stdout, paths.stderr) if not error else ())):
            path.unlink(missing_ok=True)
        if error is not None:
            raise error
        return value


def _answer(function: Callable[..., Any], *args: Any) -> tuple[Exception | None, Any]:
    """A call's error, as itself, or its answer; submitit would send the error's text.  Runs in the job."""
    try:
        return None, function(*args)
    except UncompletedJobError as error:
        return TimeoutError(f"{error} Pass more minutes, as in --slurm time=120."), None
    except Exception as error:
        return error, None


def _reason(job: submitit.Job[Any], log: str) -> str:
    """Why a job ended, in the words of Slurm where the log has some."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    of_slurm = [line for line in lines if re.match(r"(slurmstepd|srun)\S*: error:", line)]
    last = (of_slurm or lines or ["nothing"])[-1]
    return f"Slurm job {job.job_id} ended without an answer. Its log ends with: {last}"


class _Queue(SlurmInfoWatcher):
    """Which of this user's jobs are in the queue or running; asked seldom, for all at once."""

    def _make_command(self) -> list[str]:
        return ["squeue", "--noheader", "--all", "--array", f"--user={os.getuid()}", "--format=%i"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        alive = set((string if isinstance(string, str) else string.decode()).split())
        return {job: {"State": "RUNNING" if job in alive else "ENDED"} for job in self._registered}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        return self.get_info(job_id, mode).get("State", "UNKNOWN")


class _Job(submitit.SlurmJob[Any]):
    watcher = _Queue(ASK)


def _executor(folder: str | Path, parameters: Mapping[str, Any]) -> submitit.SlurmExecutor:
    if not (shutil.which("sbatch") and shutil.which("squeue")):
        raise CannotContinue(
            "--executor slurm sends jobs with `sbatch`, which this machine does not have. Run the command on a machine "
            "of the cluster that has it (a login node), or use --executor local."
        )
    made = submitit.SlurmExecutor(folder, max_num_timeout=0)
    try:
        made.update_parameters(**parameters, setup=["export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"])
    except ValueError as error:
        names = re.findall(r"- (\w+)", str(error))
        raise CannotContinue(
            f"--slurm takes {', '.join(names)}; got {', '.join(map(repr, sorted({*parameters} - {*names})))}."
        ) from error
    return made
