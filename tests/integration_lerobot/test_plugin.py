"""The policy type `cotrain` in LeRobot's own training script, and what `cotrain export` makes of checkpoints."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import data
import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.scripts import lerobot_train
from lerobot.utils.import_utils import register_third_party_plugins
from processes import LAUNCHERS, printed
from safetensors.torch import load_file
from test_train import acted, batches
from test_train import options as commands

from cotrain_losses import CoTrain, DomainGuidance, Method
from cotrain_losses.cli.lerobot.export import exported
from cotrain_losses.cli.lerobot.launch import train
from cotrain_losses.cli.lerobot.settings import Refused, Settings
from cotrain_losses.policy.keeping import FILE

pytestmark = pytest.mark.integration_lerobot
ARGS = {
    "down_dims": [16, 32],
    "horizon": 8,
    "n_action_steps": 4,
    "pretrained_backbone_weights": None,
    "noise_scheduler_type": "DDIM",
    "num_inference_steps": 3,
}
"""the base policy's own settings"""


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    register_third_party_plugins()


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.made(tmp_path_factory.mktemp("merged") / "merged", 5)


def options(dataset: Path, out: Path, **policy: Any) -> list[str]:
    own = {"type": "cotrain", "base_type": "diffusion", "base_args": json.dumps(ARGS), "device": "cpu", **policy}
    run = ["--num_workers=0", "--batch_size=10", "--steps=4", "--log_freq=2", f"--output_dir={out}"]
    place = [f"--dataset.root={dataset}", "--dataset.repo_id=local/merged", "--policy.push_to_hub=false"]
    return [*place, *run, *(f"--policy.{name}={value}" for name, value in own.items())]


def trained(arguments: list[str]) -> None:
    from unittest.mock import patch

    with patch("sys.argv", ["lerobot-train", *arguments]):
        lerobot_train.main()


def test_a_policy_type_trains_logs_saves_and_acts_under_its_method(
    merged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, method = tmp_path / "run", "cfg(scale=1.5)"
    with caplog.at_level(logging.INFO), batches() as seen:
        trained(options(merged, out, method=method, target_episodes="0-1", ratio=0.5))
    assert caplog.text.count("one step tried\n") == 1 and "reach the whole loss: True\n" in caplog.text
    assert "! " not in caplog.text
    assert len(seen) == 4 and " ratio:" in caplog.text and "samples are weighed to the ratio" in caplog.text
    folder = out / "checkpoints" / "last" / "pretrained_model"
    assert load_file(folder / "model.safetensors")["method.0.table"].abs().sum() > 0

    config = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class("cotrain").from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, str(folder))
    observation = {"observation.state": torch.randn(data.STATE)}
    observation["observation.environment_state"] = torch.randn(data.ENVIRONMENT)
    with torch.no_grad():
        policy.method[0].table.normal_()

    def action(scale: float) -> torch.Tensor:
        policy.config.scale = scale
        policy.reset()
        torch.manual_seed(0)
        return after(policy.select_action(before(dict(observation))))

    assert action(0.0).shape == (1, data.ACTION)
    assert not torch.allclose(action(0.0), action(1.0)) and not torch.allclose(action(1.0), action(3.0))

    monkeypatch.chdir(tmp_path)  # where the server writes its log
    served = served_by_the_policy_server(folder)
    assert type(served) is type(policy)
    assert torch.equal(served.method[0].table, load_file(folder / "model.safetensors")["method.0.table"])

    assert "lerobot_policy_cotrain is installed" in exported(folder, tmp_path / "guided")
    assert "without this package" in exported(folder, tmp_path / "bare", bare=True)
    stock = DiffusionPolicy.from_pretrained(tmp_path / "bare")
    for name, value in stock.state_dict().items():
        assert torch.equal(value, policy.policy.state_dict()[name])


def test_two_processes_train_one_policy(merged: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", *LAUNCHERS["accelerate"], "lerobot.scripts.lerobot_train"]
    command += options(merged, tmp_path / "run", method="cfg + probe", target_episodes="0-1")
    said = printed([*command, "--log_freq=1"], tmp_path / "log")
    assert "Effective batch size: 10 x 2 = 20" in said and said.count(" ratio:") == 4
    assert said.count("Checkpoint policy after step") == 1
    state = load_file(tmp_path / "run/checkpoints/last/pretrained_model/model.safetensors")
    assert state["method.1.table"].abs().sum() > 0


def test_a_checkpoint_of_the_command_is_exported_as_a_guided_policy(merged: Path, tmp_path: Path) -> None:
    settings = Settings(
        str(merged), (str(data.made(tmp_path / "sim", 3, seed=5)),), ratio="0.5", method="cfg(scale=1.5)"
    )
    with batches():
        train(settings, commands(tmp_path / "run", steps=2))
    folder = tmp_path / "run" / "checkpoints" / "last" / "pretrained_model"
    method = torch.load(folder / FILE)
    method["guidance.table"].normal_()  # two steps have not taught it much
    torch.save(method, folder / FILE)
    assert "lerobot_policy_cotrain is installed" in exported(folder.parent, tmp_path / "guided")
    policy = get_policy_class("cotrain").from_pretrained(tmp_path / "guided")
    before, after = make_pre_post_processors(policy.config, str(tmp_path / "guided"))
    stock = DiffusionPolicy.from_pretrained(folder)
    bare = acted(stock, before, after)
    cotrain = CoTrain(stock, Method(guidance=DomainGuidance()), domains=("merged", "sim"), target="merged")
    cotrain.load(folder)
    with cotrain.guided(scale=1.5):
        guided = acted(stock, before, after)
    assert not torch.allclose(guided, bare, atol=1e-3)
    torch.testing.assert_close(acted(policy, before, after), guided)

    config = folder / "train_config.json"
    with pytest.raises(Refused, match=r"Pass the --method that the run began with"):
        train(replace(settings, method="cfg + probe"), ["--resume=true", f"--config_path={config}", "--steps=3"])


def served_by_the_policy_server(folder: Path) -> Any:
    """What LeRobot's asynchronous server loads when a robot's client asks for the checkpoint."""
    from lerobot.async_inference.configs import PolicyServerConfig
    from lerobot.async_inference.helpers import RemotePolicyConfig
    from lerobot_policy_cotrain.policy_server import PolicyServer

    server, asked = PolicyServer(PolicyServerConfig()), RemotePolicyConfig("cotrain", str(folder), {}, 4)
    server.SendPolicyInstructions(SimpleNamespace(data=pickle.dumps(asked)), SimpleNamespace(peer=lambda: "a client"))
    for handler in [each for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]:
        logging.getLogger().removeHandler(handler)  # the server's log, which LeRobot leaves open
        handler.close()
    return server.policy


def test_a_dataset_may_say_its_domains_and_must_say_them_somewhere(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got neither --policy.target_episodes=0-19 nor .*domains.json"):
        trained(options(merged, tmp_path / "run"))
    (merged / "meta" / "domains.json").write_text(json.dumps({"target": [4], "source": [0, 1, 2, 3]}))
    with batches() as seen:
        trained([*options(merged, tmp_path / "run", method="probe"), "--steps=2"])
    assert len(seen) == 2
    with pytest.raises(ValueError, match="target_episodes lie below 5"):
        trained(options(merged, tmp_path / "other", target_episodes="7"))
    with pytest.raises(ValueError, match="leave episodes to the source, got all 5"):
        trained(options(merged, tmp_path / "other", target_episodes="0-4"))
    for wrong, words in (
        ({"base_type": "difusion"}, "Nearest: diffusion"),
        ({"base_path": "/nowhere"}, "got '/nowhere'"),
    ):
        with pytest.raises(ValueError, match=words):
            trained(options(merged, tmp_path / "other", target_episodes="0", **wrong))
