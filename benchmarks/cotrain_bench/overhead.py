"""What co-training costs a training step, and guidance a sampled action.

    overhead = median(wrapped step) / median(bare step) - 1

A step is forward, backward and AdamW.  Bare and wrapped steps of twin policies alternate within one run, each on its
own optimizer; one thread and CPU seconds of this process, or CUDA events on a GPU.  Memory is what autograd keeps for
the backward pass on the CPU, the allocator's peak on a GPU.  Interleaving cancels drift; the interval is the middle
half of the ratios of neighbouring steps.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses.cli.progress import progress
from cotrain_losses.cli.report import Table

from .overhead_subjects import SUBJECTS, Subject, subject
from .peers.problems import alternating
from .results import check_one_of, write_results
from .terminal import cli_errors, show_table
from .weights_cost import weights_cost

POLICIES = f"Comma-separated: {', '.join(SUBJECTS)}; all but the first are LeRobot's."


def overhead(
    policies: Annotated[str, typer.Option(help=POLICIES)] = ",".join(SUBJECTS),
    batch_size: Annotated[int, typer.Option(min=4, max=65536, help="Samples in a step.")] = 64,
    repeats: Annotated[int, typer.Option(min=3, help="Pairs of steps for each method.")] = 15,
    only: Annotated[str, typer.Option(help="Methods, comma-separated [all].")] = "",
    device: Annotated[str, typer.Option(help="`cpu` or `cuda`.")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for results.json and results.csv.")] = Path("results/overhead"),
) -> None:
    """Measure a training step with and without each method, and guided sampling beside bare sampling.

    Example: `cotrain bench overhead --policies suite --out results/overhead`
    """
    with cli_errors(out), progress() as bars:
        torch.set_num_threads(1)
        check_one_of("a device", device, ("cpu", "cuda"))
        settings = {"batch_size": batch_size, "repeats": repeats, "device": device, "threads": 1}
        rows: list[dict[str, Any]] = []
        wanted = only.split(",") if only else [*METHODS, *EXTRA]
        for what in wanted:
            check_one_of("a method", what, (*METHODS, *EXTRA))
        for name in policies.split(","):
            bar = bars.add_task(name, total=len(wanted))
            for row in measured(name, batch_size, repeats, device, wanted):
                rows.append(row)
                write_results(out, settings, rows)  # after each row: a run that is stopped keeps what it measured
                bars.advance(bar)
            bars.update(bar, completed=len(wanted))
        columns = ["policy", "what", "bare", "ratio", "low", "high", "memory"]
        show_table(Table(columns, [[row[c] for c in columns] for row in rows]))
        typer.echo(f"{out / 'results.json'}")


def measured(name: str, batch_size: int, repeats: int, device: str, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of one policy, as they are measured: every wanted method that means something on it, then sampling."""
    torch.manual_seed(0)
    on = subject(name, batch_size, device)
    for what, make in METHODS.items():
        if what not in wanted or (what in ("mmd", "sinkhorn", "adversary") and not on.terms):
            continue
        if what == "guidance" and on.sample is None:
            continue
        yield {"policy": name, "what": what, **_steps(on, make, repeats, device)}
    if "measured weights" in wanted and on.terms and device == "cpu":
        yield {"policy": name, "what": "measured weights", **_measured_weights(on, repeats)}
    if "guided sampling" in wanted and on.sample is not None:
        yield {"policy": name, "what": "guided sampling", **_sampling(on, repeats, device)}


def _steps(on: Subject, make: Callable[[int], ctl.Method], repeats: int, device: str) -> dict[str, Any]:
    method, domain = make(on.width() if on.terms else 0), on.domain
    bare, wrapped = copy.deepcopy(on.policy), copy.deepcopy(on.policy)
    cotrain = ctl.CoTrain(wrapped, method, seam=on.seam, loss=on.loss)
    weight = torch.ones(len(domain), device=device) if method == ctl.Method() else None
    optimizers = [torch.optim.AdamW(p) for p in (bare.parameters(), cotrain.parameters())]

    def step(total: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
        total().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    losses: tuple[Callable[[], Tensor], ...] = (
        lambda: on.loss(bare, on.batch),
        lambda: cotrain(on.batch, domain=domain, weight=weight).total,
    )
    memory = [_memory(loss, device) for loss in losses]
    jobs = [partial(step, loss, o) for loss, o in zip(losses, optimizers, strict=True)]
    return {**_ratio(alternating(jobs, repeats, device)), "memory": memory[1] / memory[0]}


def _measured_weights(on: Subject, repeats: int) -> dict[str, Any]:
    """What `balanced(-relative(0.1))` adds to an adversary, as a share of a bare step."""
    cost = weights_cost(on.width(), len(on.domain), int(on.domain.sum()), lambda: on.loss(on.policy, on.batch))
    bare = _steps(on, METHODS["weights"], repeats, "cpu")["bare"]
    ratio, low, high = (1 + (share + cost.held_out) / bare for share in cost[:3])
    return {"bare": bare, "ratio": ratio, "low": low, "high": high, "memory": None}


def _sampling(on: Subject, repeats: int, device: str) -> dict[str, Any]:
    policy = copy.deepcopy(on.policy).eval()
    cotrain = ctl.CoTrain(policy, METHODS["guidance"](0), seam=on.seam, loss=on.loss)
    assert on.sample is not None
    bare = partial(on.sample, policy)

    def guided() -> None:
        with cotrain.guided(scale=0.5):
            bare()

    with torch.no_grad():
        return {**_ratio(alternating([bare, guided], repeats, device)), "memory": None}


def _ratio(pairs: list[tuple[float, float]]) -> dict[str, float]:
    bare, wrapped = (statistics.median(side) for side in zip(*pairs, strict=True))
    low, _, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    return {"bare": bare, "ratio": wrapped / bare, "low": low, "high": high}


def _memory(loss: Callable[[], Tensor], device: str) -> float:
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        loss().backward()  # type: ignore[no-untyped-call]
        return float(torch.cuda.max_memory_allocated())
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        total = loss()
    del total
    return float(sum(kept.values()))


METHODS: dict[str, Callable[[int], ctl.Method]] = {
    "weights": lambda width: ctl.Method(),
    "guidance": lambda width: ctl.Method(guidance=ctl.DomainGuidance(drop=0.2)),
    "mmd": lambda width: ctl.Method(regularizer=0.1 * ctl.MMD()),
    "sinkhorn": lambda width: ctl.Method(regularizer=0.1 * ctl.Sinkhorn(blur=0.05)),
    "adversary": lambda width: ctl.Method(regularizer=-0.05 * ctl.DomainClassifier(width)),
}


EXTRA = ("measured weights", "guided sampling")
"""what is measured beside the methods"""
