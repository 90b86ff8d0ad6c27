"""What sample weights are on any policy: the gradient of sum_i w_i l_i / b, with l_i from the policy's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cotrain_losses import CoTrain, Method

WEIGHT = torch.tensor([0.0, 2.0, 0.5, 1.0, 3.0, 0.1])


def assert_truly_weighted(
    ours: Any,
    truth: Any,
    data: Any,
    per_sample: Callable[[Any, Any], Tensor],
    network: Callable[[Any], nn.Module] = lambda policy: policy,
) -> None:
    """Weighted through CoTrain, `ours` has the gradients that `truth` has from its own losses (b,)."""
    torch.manual_seed(1)
    CoTrain(ours, Method())(data, domain=torch.arange(len(WEIGHT)) % 2 == 0, weight=WEIGHT).total.backward()
    torch.manual_seed(1)
    (WEIGHT * per_sample(truth, data)).mean().backward()
    found, wanted = (
        {name: p.grad for name, p in network(policy).named_parameters() if p.grad is not None}
        for policy in (ours, truth)
    )
    scale = max(float(gradient.abs().max()) for gradient in wanted.values())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * scale)
