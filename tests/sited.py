"""Policies whose rows, calls or conditions need a site, each with the seam that a user writes for it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from cotrain_losses import CoTrain, Method, Seam
from cotrain_losses.policy.adapters import over_tokens
from tests.fakes import Case, act_plus_plus, cogact, hpt, maniflow, mode, starvla


class Kind(NamedTuple):
    """A policy of some codebase, the seam for it, and its loss entry."""

    module: Any
    k: int
    seam: Seam
    loss: Any = None


COGACT = Seam(head="action_model.net.forward", condition="z", time="t", rows="repeated", pool=over_tokens, width=5)
STARVLA = Seam(
    head="action_model.model",
    condition="encoder_hidden_states",
    time="timestep",
    prediction="action_model.action_decoder",
    rows="repeated",
    pool=over_tokens,
    width=4,
)
MANIFLOW = Seam(head="model", condition="vis_cond", time="timestep", rows="in turn", pool=over_tokens, width=5)
MODE = Seam(
    head="model.inner_model", condition="states.state_images", time="sigma", pool=over_tokens, width=maniflow.D - 1
)
HPT = Seam(feature="trunk.trunk", head=("heads.real", "heads.sim"), pool=over_tokens, sampler=False)
ACT = Seam(head="nets.policy.noise_pred_net", condition="global_cond", time="timestep", width=7)

KINDS = {
    "cogact": Kind(cogact, 0, COGACT),
    "starvla-8": Kind(starvla, 0, STARVLA, lambda policy, batch: policy(batch)["action_loss"]),
    "starvla-4": Kind(starvla, 1, STARVLA, lambda policy, batch: policy(batch)["action_loss"]),
    "maniflow": Kind(maniflow, 0, MANIFLOW),
    "mode": Kind(mode, 0, MODE, "training_step"),
    "hpt-real": Kind(hpt, 0, HPT),
    "hpt-sim": Kind(hpt, 1, HPT),
    "act-plus-plus": Kind(act_plus_plus, 0, ACT, lambda policy, batch: policy(*batch)),
}
kinds = pytest.mark.parametrize("name", KINDS)
guided_kinds = pytest.mark.parametrize("name", [name for name in KINDS if "hpt" not in name])


def case(name: str) -> Case:
    torch.manual_seed(0)
    return KINDS[name].module.cases()[KINDS[name].k]


def joined(name: str, c: Case, method: Method, **more: Any) -> CoTrain:
    kind = KINDS[name]
    return CoTrain(c.policy, method, **{"seam": kind.seam, "loss": kind.loss, **more})
