"""Jobs of a Slurm cluster as a `concurrent.futures.Executor`: submitit sends and runs them, `squeue` tells which live.

A thread sends what was submitted as job arrays, one job a call, looks for the files in which submitit leaves the
answers, and asks `squeue` for the rest: a job that has left the queue without an answer has died.  `sacct` is not
needed, since not every cluster keeps accounts.  Jobs that are preempted go back into the queue by themselves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from .executors import WorkerDied, one_thread
from .results import CannotContinue

DEFAULTS = {"time": 60, "mem": "4GB", "cpus_per_task": 1, "queued": 1000}
"""minutes and memory of a job, and how many jobs are in the queue or running at most"""

LOOK, ASK, LATE = 1.0, 20.0, 20.0
"""seconds between two looks at the answers, between two calls of squeue, and that an answer may come after its job"""


def settings(text: str) -> dict[str, Any]:
    """What `--slurm` says, over the defaults.

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


class Jobs(Executor):
    """Calls computed by Slurm jobs.

    Args:
        workers: jobs of an array that run at the same time.
        folder: where jobs find their call and leave their answer and log; seen by all nodes.
        text: see `settings`; names are those of sbatch with `_` for `-`.

    Raises:
        CannotContinue: no sbatch on this machine, or a name that sbatch does not know.
        ModuleNotFoundError: without submitit.
    """

    def __init__(self, workers: int, folder: str | Path, text: str = "") -> None:
        asked = settings(text)
        self._queued = int(asked.pop("queued"))
        self._slurm = _slurm(folder, {"job_name": "cotrain", "array_parallelism": workers, **asked})
        self._waiting: list[tuple[Future[Any], _Call]] = []
        self._sent: dict[Future[Any], Any] = {}
        self._missed: dict[Future[Any], float] = {}
        self._lock, self._over, self._asked = threading.Lock(), threading.Event(), -ASK
        self._thread = threading.Thread(target=self._attend, name="slurm", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, _Call(function, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while wait and not cancel_futures and (self._waiting or self._sent):
            time.sleep(LOOK)
        self._over.set()
        self._thread.join()

    def stop(self) -> None:
        """Cancel all jobs that are in the queue or running."""
        self.shutdown(cancel_futures=True)
        if ids := [job.job_id for job in self._sent.values()]:
            subprocess.run(["scancel", *ids], check=False, capture_output=True)

    def _attend(self) -> None:
        while not self._over.wait(LOOK):
            try:
                self._send()
                self._collect()
            except Exception as error:
                self._fail(error)

    def _send(self) -> None:
        """Send the next array, when there is room for a good part of it."""
        room = self._queued - len(self._sent)
        with self._lock:
            if room < min(len(self._waiting), self._queued // 4 + 1):
                return
            some, self._waiting[:room] = self._waiting[:room], []
        if not some:
            return
        try:
            with self._slurm.batch():
                jobs = [self._slurm.submit(call) for _, call in some]
        except Exception as error:
            refused = CannotContinue(f"Slurm did not take the jobs: {_last_line(str(error))}")
            for future, _ in some:
                future.set_exception(refused)
            return
        self._sent.update(zip((future for future, _ in some), jobs, strict=True))

    def _collect(self) -> None:
        for future, job in list(self._sent.items()):
            if job.paths.result_pickle.exists():
                self._answer(future, job)
        if time.monotonic() - self._asked < ASK:
            return
        self._asked = time.monotonic()
        alive = _queue() if self._sent else None
        if alive is None:
            return
        for future, job in list(self._sent.items()):
            if job.job_id in alive:
                self._missed.pop(future, None)
            elif time.monotonic() - self._missed.setdefault(future, time.monotonic()) > LATE:
                self._bury(future, job)

    def _answer(self, future: Future[Any], job: Any) -> None:
        from submitit.core.utils import UncompletedJobError, pickle_load

        del self._sent[future]
        try:
            outcome, answer = pickle_load(job.paths.result_pickle)
            error, value = answer if outcome == "success" else (WorkerDied(_ended(job, answer)), None)
        except Exception as unreadable:
            error, value = unreadable, None
        if isinstance(error, UncompletedJobError):
            error = TimeoutError(f"{error} Pass more minutes, as in --slurm time=120.")
        if error is None:
            _delete(job.paths.stdout, job.paths.stderr)
            future.set_result(value)
        else:
            future.set_exception(error)
        _delete(job.paths.submitted_pickle, job.paths.result_pickle)

    def _bury(self, future: Future[Any], job: Any) -> None:
        del self._sent[future], self._missed[future]
        try:
            log = job.paths.stderr.read_text(errors="replace")
        except OSError:
            log = ""
        future.set_exception(WorkerDied(_ended(job, log)))
        _delete(job.paths.submitted_pickle)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            futures = [*self._sent, *(future for future, _ in self._waiting)]
            self._sent, self._waiting = {}, []
        for future in futures:
            future.set_exception(error)


class _Call:
    """A call whose error comes back as itself; submitit would send its text."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def __call__(self) -> tuple[Exception | None, Any]:
        one_thread()
        try:
            return None, self.function(*self.args, **self.kwargs)
        except Exception as error:
            return error, None


def _slurm(folder: str | Path, parameters: Mapping[str, Any]) -> Any:
    import submitit

    if not (shutil.which("sbatch") and shutil.which("squeue")):
        raise CannotContinue(
            "--executor slurm sends jobs with `sbatch`, which this machine does not have. Run the command on a machine "
            "of the cluster that has it (a login node), or use --executor local."
        )
    made = submitit.SlurmExecutor(folder, max_num_timeout=0)
    try:
        made.update_parameters(**{**parameters, "setup": ["export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"]})
    except ValueError as error:
        names = re.findall(r"- (\w+)", str(error))
        raise CannotContinue(
            f"--slurm takes {', '.join(names)}; got {', '.join(map(repr, sorted({*parameters} - {*names})))}."
        ) from error
    return made


def _queue() -> set[str] | None:
    """This user's jobs that are in the queue or running; None when Slurm cannot be asked now."""
    command = ["squeue", "--noheader", "--all", "--array", f"--user={os.getuid()}", "--format=%i"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if asked.returncode else set(asked.stdout.split())


def _ended(job: Any, log: str) -> str:
    """Why, in the words of Slurm where it said some."""
    its = "\n".join(line for line in log.splitlines() if re.match(r"(slurmstepd|srun)\S*: error:", line))
    said = _last_line(its) or _last_line(log) or "nothing"
    return f"Slurm job {job.job_id} ended without an answer. Its log ends with: {said}"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _delete(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
