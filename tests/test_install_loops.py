"""An installed method in loops that split the loss, seal it, scale it or compile the policy."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method
from tests.fakes import robomimic
from tests.installed import HALF, RobomimicBC, gradients, half, robomimic_batch

ROOT = Path(__file__).parents[1]


def test_a_loop_that_splits_forward_and_losses_trains_on_the_total() -> None:
    torch.manual_seed(0)
    ours, batch = RobomimicBC(), robomimic_batch()
    theirs = copy.deepcopy(ours)
    theirs.optimizers = {"policy": torch.optim.SGD(theirs.nets.parameters(), lr=0.1)}
    cotrain = CoTrain(theirs, Method(regularizer=0.5 * MMD()))
    cotrain(batch, domain=HALF).total.backward()
    theirs.optimizers["policy"].step()
    installation = CoTrain(ours, Method(regularizer=0.5 * MMD())).install(domain=half)
    info = ours.train_on_batch(batch, epoch=0)
    torch.testing.assert_close(dict(ours.nets.named_parameters()), dict(theirs.nets.named_parameters()))
    assert torch.equal(info["losses"]["action_loss"], installation.latest.total) and info["losses"]["other"] == 1
    with torch.no_grad():
        ours.train_on_batch(batch, epoch=0, validate=True)


def test_a_sealed_loop_trains_on_the_total() -> None:
    torch.manual_seed(0)
    ours, batch = robomimic.DiffusionPolicyUNet(), robomimic.cases()[0].batch
    theirs = copy.deepcopy(ours)
    method = Method(regularizer=0.5 * MMD(), guidance=DomainGuidance())
    loss = lambda algo, batch: algo.losses(batch).mean()
    torch.manual_seed(1)
    CoTrain(theirs, method.fresh(), loss=loss)(batch, domain=HALF).total.backward()
    weight = torch.full((6,), 1.0)
    cotrain = CoTrain(ours, method)
    installation = cotrain.install(domain=half, weight=lambda batch: weight)
    ours.optimizers["policy"].step = lambda: None  # to look at the gradients
    torch.manual_seed(1)
    ours.train_on_batch(batch, epoch=0)
    torch.testing.assert_close(gradients(ours), gradients(theirs))
    assert installation.latest.raw["mmd"] != 0.0
    ours.train_on_batch(batch, epoch=0, validate=True)


class Scaled(robomimic.DiffusionPolicyUNet):
    """A sealed loop under mixed precision: its loss is multiplied before the backward pass."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled)

    def train_on_batch(self, batch: Any, epoch: int, validate: bool = False) -> dict[str, Any]:
        optimizer, loss = self.optimizers["policy"], self.losses(batch).mean()
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()
        return {"losses": {"l2_loss": loss.detach()}}


class GloballyScaled(Scaled):
    """The same, its scaler a global of the script's module."""

    def __init__(self, enabled: bool) -> None:
        super().__init__(enabled)
        global SCALER
        SCALER = self.scaler
        self.__dict__["scalers"] = [self.__dict__.pop("scaler")] if not enabled else []

    def __getattr__(self, name: str) -> Any:
        if name == "scaler":
            return SCALER
        raise AttributeError(name)


SCALER = torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize("kind", [Scaled, GloballyScaled])
def test_a_scaler_in_a_sealed_loop_scales_the_regularizer_too(kind: Any) -> None:
    batch, found, untouched = robomimic.cases()[0].batch, [], torch.amp.GradScaler.scale
    for enabled in (True, False):
        torch.manual_seed(0)
        algo = kind(enabled)
        method = Method(regularizer=0.5 * MMD() - 0.5 * DomainClassifier(10, hidden=(4,)), guidance=DomainGuidance())
        cotrain = CoTrain(algo, method)
        cotrain.install(domain=half)
        algo.train_on_batch(batch, epoch=0)
        found.append({**dict(algo.nets.named_parameters()), **dict(cotrain.regularizer.named_parameters())})  # type: ignore[union-attr]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)
    assert torch.amp.GradScaler.scale is untouched and "scale" not in vars(algo.scaler)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_sealed_loop_whose_head_is_checkpointed_is_an_error(reentrant: bool) -> None:
    class Checkpointed(robomimic.DiffusionPolicyUNet):
        def losses(self, batch: Any, nets: Any = None) -> Tensor:
            net, noise, steps = self.nets["policy"]["noise_pred_net"], batch["actions"], torch.zeros(6).long()  # type: ignore[index]
            z = self.nets["policy"]["obs_encoder"](batch["obs"].flatten(0, 1)).reshape(6, -1)  # type: ignore[index]
            predicted = checkpoint(lambda z: net(noise, steps, global_cond=z), z, use_reentrant=reentrant)
            each: Tensor = (predicted - noise).square().flatten(1).mean(1)  # type: ignore[operator]
            return each

    torch.manual_seed(0)
    algo = Checkpointed()
    CoTrain(algo, Method(regularizer=0.5 * MMD())).install(domain=half)
    with pytest.raises(RuntimeError, match="under activation checkpointing" if reentrant else "during recomputation"):
        algo.train_on_batch(robomimic.cases()[0].batch, epoch=0)


COMPILED_LATER = """
import sys, torch
from cotrain_losses import MMD, CoTrain, DomainGuidance, Method, Seam
from tests.toy import Policy, batch

light = not {"torch._dynamo", "sympy", "matplotlib", "ot", "scipy"} & sys.modules.keys()


class Called(Policy):
    def forward(self, batch):
        time = torch.full((6,), 0.5, dtype=torch.float64)
        predicted = self.head(batch["action"], time, condition=self.encoder(batch["observation"]))
        return (predicted - batch["action"]).square().mean()


def gradients(compiled):
    torch.manual_seed(0)
    policy = Called()
    method = Method(regularizer=0.1 * MMD(), guidance=DomainGuidance(4, drop=0.0))
    cotrain = CoTrain(policy, method, seam=Seam(head="head", condition="condition"), loss="__call__")
    installation = cotrain.install(domain=lambda batch: torch.arange(6) % 2)
    model = torch.compile(policy, backend="eager") if compiled else policy
    for k in range(3):
        model(batch(k)).backward()
    assert installation.latest.regularizer != 0
    return [p.grad for p in cotrain.parameters()]


plain = gradients(compiled=False)
assert light and "torch._dynamo" not in sys.modules
torch.testing.assert_close(gradients(compiled=True), plain)
"""


def test_a_policy_compiled_after_installation_trains_alike_and_nothing_loads_the_compiler_before() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED_LATER], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
