"""An installed method acts inside the policy's own loss entry, and leaves no trace in copies or afterwards."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Seam
from cotrain_losses.policy.paths import network
from cotrain_losses.strength.schedules import warmup
from tests.fakes import multi_task_dit, robomimic, vla
from tests.processes import in_processes
from tests.toy import Policy
from tests.toy import batch as toy_batch

SEAM = Seam(head="head", condition="condition", width=4)
ROOT = Path(__file__).parents[1]
HALF = torch.arange(6) % 2 == 0


def half(batch: Any) -> Tensor:
    return HALF


def gradients(policy: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network(policy).named_parameters() if p.grad is not None}


class RobomimicBC:
    """ARISE-Initiative/robomimic 0.3.0 algo/bc.py: forward and losses are two methods of one sealed step."""

    def __init__(self) -> None:
        nets = {"encoder": nn.Linear(3, 4), "mlp": nn.Tanh(), "decoder": nn.Linear(4, 2)}
        policy = nn.Module()
        policy.nets = nn.ModuleDict(nets)
        self.nets = nn.ModuleDict({"policy": policy})
        self.optimizers = {"policy": torch.optim.SGD(self.nets.parameters(), lr=0.1)}

    def _forward_training(self, batch: Any) -> dict[str, Tensor]:
        nets = self.nets["policy"].nets
        return {"actions": nets["decoder"](nets["mlp"](nets["encoder"](batch["obs"])))}

    def _compute_losses(self, predictions: Any, batch: Any) -> dict[str, Tensor]:
        return {"action_loss": (predictions["actions"] - batch["actions"]).square().mean(), "other": torch.ones(())}

    def train_on_batch(self, batch: Any, epoch: int, validate: bool = False) -> dict[str, Any]:
        with torch.set_grad_enabled(not validate):
            losses = self._compute_losses(self._forward_training(batch), batch)
            if not validate:
                self.optimizers["policy"].zero_grad()
                losses["action_loss"].backward()
                self.optimizers["policy"].step()
        return {"losses": losses}


RobomimicBC.__module__, RobomimicBC.__name__ = "robomimic.algo.bc", "BC"


def robomimic_batch() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {"obs": torch.randn(6, 3), "actions": torch.randn(6, 2)}


def test_the_entry_returns_what_a_step_of_ones_own_would() -> None:
    ours, theirs, batch = Policy(), Policy(), toy_batch()
    theirs.load_state_dict(ours.state_dict())
    method = Method(regularizer=0.1 * MMD(), guidance=DomainGuidance(), weights=lambda s: 1.0 + s.is_target.double())
    torch.manual_seed(1)
    expected = CoTrain(theirs, method.fresh(), seam=SEAM)(batch, domain=HALF).total
    expected.backward()
    installation = CoTrain(ours, method, seam=SEAM).install(domain=half)
    torch.manual_seed(1)
    found = ours.compute_loss(batch)
    found.backward()
    assert torch.equal(found, expected) and torch.equal(installation.latest.total, expected)
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["tuple", "per sample", "mapping"])
def test_the_shape_of_what_the_entry_returns_stays(kind: str) -> None:
    batch = vla.lerobot_batch()
    policy: Any = vla.PI0Policy()
    entry = {"tuple": lambda: policy(batch), "per sample": lambda: policy(batch, reduction="none")}.get(kind)
    if kind == "mapping":
        policy = multi_task_dit.MultiTaskDiTPolicy()
        policy.forward = lambda batch: {"loss": policy.losses(batch).mean(), "kept": 1}
        batch, entry = multi_task_dit.cases()[0].batch, lambda: policy(batch)
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()))
    installation = cotrain.install(domain=half)
    returned = entry()  # type: ignore[misc]
    loss = returned["loss"] if kind == "mapping" else returned[0]
    torch.testing.assert_close(loss.mean(), installation.latest.total)
    assert loss.shape == ((6,) if kind == "per sample" else ()) and installation.latest.regularizer != 0
    assert kind != "mapping" or returned["kept"] == 1


def test_uninstalling_restores_the_entry() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    cotrain.install(domain=half)
    assert "compute_loss" in vars(policy)
    cotrain.uninstall()
    assert "compute_loss" not in vars(policy) and policy.compute_loss(batch).ndim == 0
    policy.compute_loss = own = lambda batch: torch.zeros(())  # type: ignore[method-assign, assignment]
    cotrain.install(domain=half)
    cotrain.unwrap()
    assert policy.compute_loss is own


@pytest.mark.parametrize("make", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copy_taken_while_installed_is_a_working_policy_of_its_own(make: Any) -> None:
    policy, batch = Policy(), toy_batch()
    CoTrain(policy, Method(regularizer=0.1 * MMD(), guidance=DomainGuidance()), seam=SEAM).install(domain=half)
    policy.compute_loss(batch).backward()
    ema = make(policy)
    with torch.no_grad():
        for p in ema.parameters():
            p.zero_()
    torch.manual_seed(1)
    loss = ema.compute_loss(batch)
    torch.manual_seed(1)
    assert torch.equal(loss, ema.per_sample(batch).mean())  # its own parameters, no regularizer
    assert any(p.abs().sum() > 0 for p in policy.parameters())


def test_labels_come_beside_the_batch_in_a_context() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=warmup(0.1, 10) * MMD()), seam=SEAM)
    installation = cotrain.install()
    with pytest.raises(ValueError, match="needs the batch's domain labels"):
        policy.compute_loss(batch)
    with cotrain.labelled(HALF, step=10, weight=torch.ones(6)):
        policy.compute_loss(batch)
    assert installation.latest.strengths["mmd"] == pytest.approx(0.1, rel=1e-3)
    with torch.no_grad():
        policy.compute_loss(batch)  # an evaluation needs none
    with pytest.raises(RuntimeError, match="install"):
        cotrain.uninstall()
        cotrain.labelled(HALF)


def test_evaluation_returns_the_policys_own_loss() -> None:
    policy, batch = Policy(), toy_batch()
    CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM).install(domain=half)
    for mode, grad in ((False, True), (True, False)):
        policy.train(mode)
        with torch.set_grad_enabled(grad):
            torch.manual_seed(1)
            found = policy.compute_loss(batch)
            torch.manual_seed(1)
            assert torch.equal(found, policy.per_sample(batch).mean())


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


def test_the_plugin_joins_the_optimizers_a_policy_holds() -> None:
    algo, batch = RobomimicBC(), robomimic_batch()
    cotrain = CoTrain(algo, Method(regularizer=-0.1 * DomainClassifier(4)))
    cotrain.install(domain=half)
    cotrain.install(domain=half)  # once is enough
    assert len(algo.optimizers["policy"].param_groups) == 2
    before = [p.clone() for p in cotrain.plugin_parameters()]
    algo.train_on_batch(batch, epoch=0)
    assert any(not torch.equal(p, q) for p, q in zip(cotrain.plugin_parameters(), before, strict=True))


def test_the_plugin_joins_the_groups_a_policy_names_for_its_optimizer() -> None:
    policy = multi_task_dit.MultiTaskDiTPolicy()
    policy.get_optim_params = lambda: policy.parameters()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    cotrain.install(domain=half)
    groups = policy.get_optim_params()
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in (*policy.parameters(), *cotrain.plugin_parameters())}
    assert groups[-1]["weight_decay"] == 0.0


def test_a_method_without_parameters_hands_the_policys_own_groups_on_as_they_are() -> None:
    policy = multi_task_dit.MultiTaskDiTPolicy()
    policy.get_optim_params = lambda: policy.parameters()  # a generator, as in LeRobot
    CoTrain(policy, Method(regularizer=0.1 * MMD())).install(domain=half)
    assert len(list(policy.get_optim_params())) == len(list(policy.parameters()))


def test_a_plugin_that_no_optimizer_steps_is_an_error() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=-0.1 * DomainClassifier(4)), seam=SEAM)
    cotrain.install(domain=half)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    policy.compute_loss(batch).backward()
    policy.compute_loss(batch).backward()  # accumulating is fine
    optimizer.step()
    with pytest.raises(RuntimeError, match="must learn with the policy's"):
        policy.compute_loss(batch)


def test_a_step_of_ones_own_and_an_installed_entry_do_not_add_up() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    torch.manual_seed(1)
    expected = cotrain(batch, domain=HALF).total
    cotrain.install(domain=half)
    torch.manual_seed(1)
    assert torch.equal(cotrain(batch, domain=HALF).total, expected)


class Keywords(Policy):
    """Called as a Hugging Face Trainer calls a model: by keyword, for a mapping with a loss."""

    def forward(self, observation: Tensor, action: Tensor) -> dict[str, Tensor]:
        return {"loss": self.compute_loss({"observation": observation, "action": action})}


def test_a_label_among_the_keywords_is_read_and_not_passed_on() -> None:
    policy, data = Keywords(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM, loss="__call__")
    installation = cotrain.install(domain=lambda batch: batch["domain"])
    loss = policy(**data, domain=HALF)["loss"]
    assert torch.equal(loss, installation.latest.total) and installation.latest.regularizer != 0
    with torch.no_grad():
        assert policy.eval()(**data, domain=HALF)["loss"] != loss


def test_install_names_an_entry_the_policy_lacks() -> None:
    policy = Policy()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM, loss="objective")
    with pytest.raises(ValueError, match="'objective', which Policy lacks"):
        cotrain.install(domain=half)


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


class Called(Policy):
    """Called, so that DistributedDataParallel sees it."""

    def forward(self, batch: Any) -> Tensor:
        return self.compute_loss(batch)


def _installed(seed: int) -> tuple[CoTrain, Called]:
    torch.manual_seed(seed)
    policy = Called()
    method = Method(regularizer=-0.1 * DomainClassifier(4, hidden=(5,)), guidance=DomainGuidance(drop=0.0))
    cotrain = CoTrain(policy, method, seam=SEAM, loss="__call__")
    return cotrain.double(), policy


def _part(step: int, rank: int) -> tuple[Any, Tensor]:
    """A rank's rows; rank 1 has none of the target in the last step."""
    rows = slice(3 * rank, 3 * rank + 3)
    labels = HALF[rows] if (step, rank) != (3, 1) else torch.zeros(3, dtype=torch.bool)
    return {name: x[rows] for name, x in toy_batch(step).items()}, labels


def _installed_parameters(rank: int) -> dict[str, Tensor]:
    cotrain, policy = _installed(seed=rank)  # ranks start with parameters of their own
    model = nn.parallel.DistributedDataParallel(policy)
    cotrain.install()
    optimizer = torch.optim.SGD([*policy.parameters(), *cotrain.plugin_parameters()], lr=0.1)
    if rank == 0:  # as scripts evaluate: on one rank, outside DistributedDataParallel
        with torch.no_grad(), cotrain.labelled(HALF):
            policy(toy_batch())
    for step in range(4):
        part, labels = _part(step, rank)
        torch.manual_seed(10 * step + rank)
        with cotrain.labelled(labels):
            model(part).backward()
        if step % 2:  # gradients of two passes accumulate
            optimizer.step()
            optimizer.zero_grad()
    return {name: p.detach() for name, p in cotrain.named_parameters()}


def test_an_installed_methods_own_parameters_are_alike_on_all_ranks(tmp_path: Any) -> None:
    found = in_processes(_installed_parameters, tmp_path)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    cotrain, _ = _installed(seed=0)
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    for step in range(4):
        for rank in (0, 1):
            part, labels = _part(step, rank)
            torch.manual_seed(10 * step + rank)
            (cotrain(part, domain=labels).total / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    expected = {name: p.detach() for name, p in cotrain.named_parameters()}
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-12)
