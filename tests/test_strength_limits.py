"""Where training ends under a measured strength, and what is told of numbers that run away."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from cotrain_losses import DomainClassifier, Method
from cotrain_losses.policy.watch import Divergence
from cotrain_losses.strength import relative
from tests.strengths import joined
from tests.training import Gap, run


def settled(weight: Any, steps: int = 3000) -> float:
    """Where a policy that wants the target 0.1 from the source ends, under a term that wants it at the source.

    loss (place - 0.1)^2 / 2 and noise of standard deviation 1 in its gradient; term place^2.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(steps, generator=generator, dtype=torch.float64).tolist()
    regularizer, place, late = weight * Gap(), 0.1, []
    for step in range(steps):
        z = torch.tensor([[0.0], [place]], dtype=torch.float64, requires_grad=True)
        heard = regularizer.seam(z)[1, 0]
        (0.5 * (heard - 0.1) ** 2 + noise[step] * heard + regularizer(z[:1], z[1:], step=step)).backward()
        place -= 0.002 * float(z.grad[1, 0])
        late.append(place)
    return sum(late[-1000:]) / 1000


def test_normalised_a_converged_term_goes_on_into_overlap_and_capped_it_stops_at_its_raw_balance() -> None:
    how = {"standardise": False}
    capped, normalised = (settled(relative(1.0, raw=raw, **how)) for raw in (0.05, math.inf))
    wanted, error = 0.1 / (1 + 2 * 0.05), 0.03  # place - 0.1 + 2 raw place = 0
    assert abs(capped - wanted) < error
    assert abs(normalised) < 0.02 < wanted - error


def test_numbers_that_run_away_are_said_once_each_and_usual_ones_never() -> None:
    watch = Divergence()
    for step in range(20):
        watch.look(
            {"policy": 2.0 * 0.8**step, "norm/source": 1.0 + step, "norm/target": 3.0, "ratio": 10.0**step}, step
        )
    assert watch.diverged == {}
    with pytest.warns(UserWarning, match=r"training diverges: norm/target is 16 at step 20, 3 before") as caught:
        for step in (20, 21):
            watch.look({"policy": 0.01, "norm/target": 16.0}, step)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="policy is nan at step 22"):
        watch.look({"policy": math.nan}, 22)
    assert watch.diverged == {"norm/target": 20, "policy": 22}


def test_a_watch_tells_when_an_adversary_pushes_the_features_out() -> None:
    cotrain = joined(Method(regularizer=-300.0 * DomainClassifier(4, hidden=(5,))))
    watch, optimizer = cotrain.watch(every=1), torch.optim.SGD(cotrain.parameters(), lr=0.02)
    with pytest.warns(UserWarning, match="training diverges"):
        run(cotrain, optimizer, range(40))
    assert watch.divergence.diverged
