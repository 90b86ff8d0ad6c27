"""Whole training steps: what a method adds to one, what it waits for, and whether it is captured in a CUDA graph."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

import cotrain_losses as ctl

from ..peers.problems import repeat, seconds
from .machine import Machine, NotHere, Row
from .policies import POLICIES, Subject, methods, small


def overhead(on: Machine) -> Iterator[Row]:
    """A step with a method over a bare one: forward, backward and AdamW."""
    for policy, make in POLICIES.items():
        try:
            torch.manual_seed(0)
            subject = make(on.device, on.tiny)
        except Exception as error:  # a policy that is not there is a row
            yield {"what": policy, "status": f"not run: {type(error).__name__}: {str(error).splitlines()[0]}"}
            continue
        for half in (False, True) if on.cuda or subject.seam is not None else (False,):  # a CPU is slow in bfloat16
            yield from _ratios(on, policy, subject, half)


def _ratios(on: Machine, policy: str, subject: Subject, half: bool) -> Iterator[Row]:
    """Steps of the bare policy and of every method in turn, in one run: the median of each block's ratio."""
    made = {"": partial(stepper, on, subject, None, half)}
    made |= {name: partial(stepper, on, subject, make, half) for name, make in methods(subject.width).items()}
    how = f"{policy}, {'bfloat16 autocast' if half else 'float32'}"
    steps: dict[str, Callable[[], Any]] = {}
    for name, make in made.items():
        row = on.tried(f"{how}: {name}", partial(_warmed, on, make, steps, name))
        if name and row["status"] != "ok":
            yield row
    if "" not in steps:
        return
    times = _in_turn(on, steps)
    for name in [name for name in steps if name]:
        ratio = statistics.median(after / before for before, after in zip(times[""], times[name], strict=True))
        row = {"what": f"{how}: {name}", "status": "ok", "figure": "step with / without", "value": ratio}
        yield row | {"wanted": 1.02, "bare ms": 1e3 * statistics.median(times[""])}


def _warmed(on: Machine, make: Callable[[], Any], steps: dict[str, Callable[[], Any]], name: str) -> Row:
    step = make()
    repeat(step, 1 if on.tiny else 3)
    on.idle()
    steps[name] = step
    return {}


def _in_turn(on: Machine, steps: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of a step, of each in every block; each block begins with another one."""
    blocks = 2 if on.tiny else 24
    times: dict[str, list[float]] = {name: [] for name in steps}
    for block in range(blocks):
        if block > 1 and on.left() <= 0:
            break
        names = list(steps)[block % len(steps) :] + list(steps)[: block % len(steps)]
        for name in names:
            times[name].append(seconds(steps[name], on.device))
    return times


def stepper(
    on: Machine, subject: Subject, make: Callable[[], ctl.Method] | None, half: bool, labels: str = "cpu"
) -> Callable[[], Any]:
    """One training step of a copy of the policy, bare where `make` is None."""
    policy, domain = copy.deepcopy(subject.policy), subject.domain.to(labels)
    torch.manual_seed(0)
    cotrain = None if make is None else ctl.CoTrain(policy, make(), seam=subject.seam, loss=subject.loss)
    own = [] if cotrain is None else list(cotrain.plugin_parameters())
    optimizer = torch.optim.AdamW([*policy.parameters(), *own], 1e-4)

    def step() -> None:
        with torch.autocast(on.device, torch.bfloat16, enabled=half):
            if cotrain is None:
                total = subject.loss(policy, subject.batch)
            else:
                total = cotrain(subject.batch, domain=domain, step=0).total
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def waits(on: Machine) -> Iterator[Row]:
    """The calls of five steps that wait for the device, with labels on the CPU and on the device."""
    subject = small(on.device, True)
    for name, make in methods(subject.width).items():
        for labels in dict.fromkeys(("cpu", on.device)):
            yield on.tried(f"{name}, labels on {labels}", partial(_waits, on, subject, make, labels))


def _waits(on: Machine, subject: Subject, make: Callable[[], ctl.Method], labels: str) -> Row:
    step = stepper(on, subject, make, False, labels)
    for _ in range(3):
        step()
    with on.waits() as found:
        for _ in range(5):
            step()
    return {"figure": "waits in five steps", "value": sum(found.values()), "wanted": 0, "places": found}


def graphs(on: Machine) -> Iterator[Row]:
    """A whole step (policy, method, backward) captured in a CUDA graph and replayed on another batch."""
    for name, make in methods(256).items():
        yield on.tried(name, partial(_graph, on, make))


def _graph(on: Machine, make: Callable[[], ctl.Method]) -> Row:
    subject = small(on.device, True)
    method = make()
    if method.guidance is not None:
        method.guidance.drop = 0.0  # labels are dropped by the host, which a replay does not ask
    cotrain = ctl.CoTrain(subject.policy, method, seam=subject.seam, loss=_noiseless)
    domain = subject.domain.to(on.device)
    parameters = [*subject.policy.parameters(), *cotrain.plugin_parameters()]

    def step() -> list[torch.Tensor]:
        total = cotrain(subject.batch, domain=domain, step=0).total
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        return [total.detach(), *(g for g in found if g is not None)]

    for _ in range(3):
        step()
    if not on.cuda:
        raise NotHere("a CUDA graph needs a GPU; the step ran without one")
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        captured = step()
    subject.batch["image"].copy_(torch.rand_like(subject.batch["image"]))
    graph.replay()
    on.idle()
    worst = max(float((a - b).norm() / b.norm().clamp_min(1e-6)) for a, b in zip(captured, step(), strict=True))
    return {"figure": "captured step, error", "value": worst, "wanted": 1e-3}


def _noiseless(policy: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The small policy's loss without random numbers, so that two runs are the same."""
    action = batch["action"]
    time = torch.full((len(action),), 0.5, device=action.device)
    return (policy.head(action, time, condition=policy.encoder(batch["image"])) - action).square().mean()  # type: ignore[no-any-return]
