"""The policies of known codebases that the tests go through, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cotrain_losses import CoTrain, Method
from tests.fakes import Case, diffusion_policy, gr00t, multi_task_dit, robomimic, vla

MODULES = (diffusion_policy, robomimic, vla, multi_task_dit, gr00t)
COUNTS = {diffusion_policy: 5, robomimic: 1, vla: 7, multi_task_dit: 1, gr00t: 4}
EVERY = [(module, k) for module in MODULES for k in range(COUNTS[module])]
named = pytest.mark.parametrize("module, k", EVERY, ids=lambda x: getattr(x, "__name__", x))


def case(module: Any, k: int) -> Case:
    torch.manual_seed(0)
    return module.cases()[k]


def joined(c: Case, method: Method, **more: Any) -> CoTrain:
    loss = (
        {"loss": lambda algo, batch: algo.losses(batch).mean()}
        if isinstance(c.policy, robomimic.DiffusionPolicyUNet)
        else {}
    )
    return CoTrain(c.policy, method, **loss, **more)


def sampled(cotrain: CoTrain, c: Case, scale: float) -> torch.Tensor:
    """What a policy samples under guidance, from the same random numbers each time."""
    torch.manual_seed(2)
    with cotrain.guided(scale=scale):
        return c.sample(c.policy)
