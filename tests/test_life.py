"""A method lives as long as its policy: saved with it, resumed with it, guided after it was loaded."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method
from tests.installed import SEAM, half
from tests.lives import full_method
from tests.toy import Policy, batch

ROOT = Path(__file__).parents[1]


class Pretrained(Policy):
    """Saves and loads itself as LeRobot's and transformers' policies do."""

    def __init__(self, folder: str | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(pretrained_path=folder)

    def save_pretrained(self, save_directory: Any, *, state_dict: Any = None, is_main_process: bool = True) -> None:
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        torch.save(self.state_dict() if state_dict is None else state_dict, Path(save_directory) / "model.pt")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Pretrained:
        policy = cls(str(folder))
        policy.load_state_dict(torch.load(folder / "model.pt"))
        return policy


def trained(policy: Any, steps: int = 2, **more: Any) -> tuple[CoTrain, Any]:
    cotrain = CoTrain(policy, full_method(), seam=SEAM)
    installation = cotrain.install(domain=half, step=lambda: 1, optimizer="any", **more)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
    for _ in range(steps):
        step(policy, optimizer)
    return cotrain, installation


def step(policy: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    policy.compute_loss(batch()).backward()
    optimizer.step()


def own(cotrain: CoTrain) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in cotrain.state_dict().items() if not name.startswith("policy.")}


def guided(cotrain: CoTrain) -> Tensor:
    with cotrain.guided(scale=3.0):
        return cotrain.policy.sample(batch()["observation"])


@pytest.mark.parametrize("by_name", [False, True])
def test_a_method_is_saved_and_resumed_with_a_pretrained_policy(tmp_path: Path, by_name: bool) -> None:
    cotrain, _ = trained(Pretrained())
    cotrain.policy.save_pretrained(save_directory=tmp_path) if by_name else cotrain.policy.save_pretrained(tmp_path)
    assert set(torch.load(tmp_path / "model.pt")) == set(Policy().state_dict())
    later, _ = trained(Pretrained.from_pretrained(tmp_path), steps=0)
    torch.testing.assert_close(own(later), own(cotrain), rtol=0, atol=0)
    assert torch.equal(guided(later), guided(cotrain))
    cotrain.uninstall()
    assert "save_pretrained" not in vars(cotrain.policy)


def test_a_policy_saved_by_another_process_alone_writes_no_method(tmp_path: Path) -> None:
    cotrain, _ = trained(Pretrained())
    cotrain.policy.save_pretrained(tmp_path, is_main_process=False)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_guided_policy_is_guided_after_it_was_loaded(tmp_path: Path) -> None:
    cotrain, _ = trained(Pretrained(), steps=4)  # the target's label is dropped in the first two
    cotrain.policy.save_pretrained(tmp_path)
    deployed = CoTrain(Pretrained.from_pretrained(tmp_path), full_method(), seam=SEAM)
    deployed.load(tmp_path)
    assert torch.equal(guided(deployed), guided(cotrain))
    with deployed.guided(scale=0.0):
        bare = deployed.policy.sample(batch()["observation"])
        assert (bare - guided(cotrain)).abs().max() > 1e-3


def test_a_token_that_is_missing_is_told(tmp_path: Path) -> None:
    policy = Pretrained()
    bare = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    bare.save(tmp_path)
    policy.save_pretrained(tmp_path)
    deployed = CoTrain(Pretrained.from_pretrained(tmp_path), Method(guidance=DomainGuidance()), seam=SEAM)
    with pytest.warns(UserWarning, match=r"lacks guidance.table.*begin anew"):
        deployed.load(tmp_path)
    with pytest.warns(UserWarning, match="tokens that are all zero"):
        guided(deployed)
    guided(deployed)  # told once
    with pytest.raises(FileNotFoundError, match="cotrain_method"):
        deployed.load(tmp_path / "elsewhere")
    full, _ = trained(Pretrained())
    full.save(tmp_path)
    with pytest.warns(UserWarning, match="which this method has not"):
        CoTrain(Policy(), Method(regularizer=0.1 * MMD()), seam=SEAM).load(tmp_path)
    three = CoTrain(
        Policy(), Method(guidance=DomainGuidance(domains=3)), seam=SEAM, domains=("a", "b", "c"), target="c"
    )
    with pytest.raises(ValueError, match="one of its own sizes"):
        three.load(tmp_path)


class Workspace:
    """real-stanford/diffusion_policy workspace/base_workspace.py: what has a state_dict is in the checkpoint."""

    def __init__(self) -> None:
        self.model = Policy()
        self.ema_model = copy.deepcopy(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)

    def save_checkpoint(self, path: Path) -> None:
        states = {k: on_cpu(v.state_dict()) for k, v in vars(self).items() if hasattr(v, "load_state_dict")}
        torch.save({"state_dicts": states}, path)

    def load_checkpoint(self, path: Path) -> None:
        for key, value in torch.load(path)["state_dicts"].items():
            vars(self)[key].load_state_dict(value)


def on_cpu(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: on_cpu(part) for name, part in x.items()}
    return [on_cpu(part) for part in x] if isinstance(x, list) else x


def working() -> tuple[Workspace, CoTrain]:
    workspace: Any = Workspace()
    cotrain = CoTrain(workspace.model, full_method(), seam=SEAM)
    workspace.cotrain = cotrain.install(domain=half, step=lambda: 1, optimizer=workspace.optimizer)
    return workspace, cotrain


def test_a_workspace_that_holds_the_installation_saves_and_resumes_it(tmp_path: Path) -> None:
    workspace, cotrain = working()
    for _ in range(2):
        step(workspace.model, workspace.optimizer)
        workspace.save_checkpoint(tmp_path / "latest.ckpt")
    later, resumed = working()
    later.load_checkpoint(tmp_path / "latest.ckpt")
    for one in (workspace, later):
        torch.manual_seed(0)
        step(one.model, one.optimizer)
    torch.testing.assert_close(own(resumed), own(cotrain), rtol=0, atol=0)
    torch.testing.assert_close([*later.model.parameters()], [*workspace.model.parameters()], rtol=0, atol=0)


def test_a_plain_state_dict_keeps_its_keys_and_the_missing_method_is_told_once() -> None:
    policy = Policy()
    cotrain, _ = trained(policy)
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    assert set(policy.state_dict()) == set(Policy().state_dict())
    with pytest.warns(UserWarning, match=r"whose state \(regularizer, guidance\) was not"):
        step(policy, optimizer)
    policy.state_dict()
    step(policy, optimizer)


def kept_whole(folder: Path) -> CoTrain:
    cotrain, _ = trained(Policy(), steps=1)
    cotrain.state_dict()  # the policy's inside of it
    return cotrain


def kept_by_its_installation(folder: Path) -> CoTrain:
    cotrain, installation = trained(Policy(), steps=1)
    cotrain.policy.state_dict(), installation.state_dict()
    return cotrain


def kept_beside(folder: Path) -> CoTrain:
    cotrain, _ = trained(Policy(), steps=1)
    cotrain.policy.state_dict(), cotrain.save(folder)
    return cotrain


def loaded(folder: Path) -> CoTrain:
    kept_beside(folder)
    cotrain, _ = trained(Policy(), steps=0)
    cotrain.policy.state_dict(), cotrain.load(folder)  # safetensors asks for the keys that it loads
    return cotrain


def without_a_state(folder: Path) -> CoTrain:
    cotrain = CoTrain(Policy(), Method(weights=lambda samples: torch.ones(6)), seam=SEAM)
    cotrain.install(domain=half)
    cotrain.policy.state_dict()
    return cotrain


@pytest.mark.parametrize("made", [kept_whole, kept_by_its_installation, kept_beside, loaded, without_a_state])
def test_nothing_is_told_where_there_is_nothing_to_keep_or_it_is_kept(made, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        cotrain = made(tmp_path)
        step(cotrain.policy, torch.optim.SGD(cotrain.parameters(), lr=0.1))
        cotrain.uninstall()
    assert told == []


AT_EXIT = """
import torch
from tests.test_life import Policy, in_own_loop, trained
cotrain, _ = trained(Policy())
torch.save(cotrain.policy.state_dict(), "/dev/null")

def main():
    torch.save(in_own_loop(steps=2).policy.state_dict(), "/dev/null")

main()
"""


def test_a_method_left_out_of_the_last_checkpoint_is_told_when_the_script_ends() -> None:
    run = subprocess.run([sys.executable, "-W", "always", "-c", AT_EXIT], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0 and run.stderr.count("was not: a checkpoint without it") == 2, run.stderr


def in_own_loop(steps: int, **method: Any) -> CoTrain:
    cotrain = CoTrain(Policy(), Method(**method) if method else full_method(), seam=SEAM)
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    for k in range(steps):
        optimizer.zero_grad()
        cotrain(batch(), domain=half(batch()), step=k).total.backward()
        optimizer.step()
    return cotrain


def test_in_ones_own_loop_a_method_that_learned_and_was_not_saved_is_told_when_it_is_taken_off() -> None:
    cotrain = in_own_loop(steps=2)
    nn.ModuleDict({"within": cotrain.policy}).state_dict()  # as DistributedDataParallel and workspaces hold it
    with pytest.warns(UserWarning, match=r"whose state \(regularizer, guidance\) was not.*cotrain.save\(folder\)"):
        policy = cotrain.unwrap()
    policy.state_dict()


SAVED: dict[str, Any] = {
    "whole": lambda cotrain, folder: cotrain.state_dict(),
    "beside": lambda cotrain, folder: cotrain.save(folder),
    "part by part": lambda cotrain, folder: [cotrain.guidance.state_dict(), cotrain.regularizer.state_dict()],
}


@pytest.mark.parametrize("how", SAVED)
def test_nothing_is_told_of_a_method_that_was_saved_from_ones_own_loop(how: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        before, after = in_own_loop(steps=1), in_own_loop(steps=1)
        SAVED[how](before, tmp_path), before.policy.state_dict()
        after.policy.state_dict(), SAVED[how](after, tmp_path)
        before.unwrap(), after.unwrap()
    assert told == []


def test_nothing_is_told_of_a_method_that_learned_nothing(tmp_path: Path) -> None:
    in_own_loop(steps=1).save(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        bare, deployed, again = in_own_loop(steps=1, regularizer=0.1 * MMD()), in_own_loop(0), in_own_loop(0)
        deployed.load(tmp_path)
        again.load_state_dict(deployed.state_dict())
        early = in_own_loop(0)
        for cotrain in (bare, deployed, again, early, copy.deepcopy(deployed)):
            cotrain.policy.state_dict()
            cotrain.unwrap()
    assert told == []


def test_what_was_saved_of_a_policy_before_its_method_was_installed_is_told_then() -> None:
    cotrain = in_own_loop(steps=1)
    cotrain.policy.state_dict()
    with pytest.warns(UserWarning, match="was not: a checkpoint without it"):
        cotrain.install(domain=half)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copy_saves_itself_alone(tmp_path: Path, make: Any) -> None:
    cotrain, _ = trained(Pretrained())
    twin = make(cotrain.policy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.save_pretrained(tmp_path)
        step(cotrain.policy, torch.optim.SGD(cotrain.parameters(), lr=0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_policy_that_is_no_module_is_looked_into() -> None:
    class Algo:
        def __init__(self) -> None:
            self.nets = Policy()
            self.encoder, self.head = self.nets.encoder, self.nets.head
            self.compute_loss = self.nets.compute_loss

    algo = Algo()
    cotrain = CoTrain(algo, Method(guidance=DomainGuidance(width=4)), seam=SEAM)
    cotrain.install(domain=half)
    assert isinstance(algo.nets, nn.Module) and algo.nets.state_dict()
    with pytest.warns(UserWarning, match=r"\(guidance\) was not"):
        cotrain.uninstall()
