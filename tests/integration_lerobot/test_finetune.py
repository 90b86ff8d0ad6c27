"""A vision-language-action model is fine-tuned on two domains: `--policy.path`, `--policy.base_path`, and PEFT."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import checkpoints
import data
import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from lerobot.utils.import_utils import register_third_party_plugins
from peft import PeftModel
from safetensors.torch import load_file
from test_plugin import trained
from test_train import batches, resumed

from cotrain_losses import CoTrain, DomainGuidance, Method
from cotrain_losses.cli.lerobot.export import exported
from cotrain_losses.cli.lerobot.launch import train
from cotrain_losses.cli.lerobot.settings import Refused, Settings
from cotrain_losses.policy.keeping import FILE

pytestmark = pytest.mark.integration_lerobot
ENCODER = r"(model\.vlm_with_expert\.vlm\.model\.connector.*proj|model\.action_out_proj)"
"""adapters of what makes the image tokens, beside the head's"""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.smolvla(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("datasets")
    made = data.made(root / "real", 2, cameras=["top"], seed=1), data.made(root / "sim", 3, cameras=["top"], seed=2)
    return str(made[0]), str(made[1])


RATE = {"optimizer_lr": 1e-2, "scheduler_warmup_steps": 0}


def options(out: Path, **more: Any) -> list[str]:
    return run(out, policy__push_to_hub="false", **{f"policy__{name}": value for name, value in RATE.items()}, **more)


def run(out: Path, **more: Any) -> list[str]:
    given = {"output_dir": out, "num_workers": 0, "batch_size": 8, "steps": 4, "log_freq": 2, "save_freq": 2, **more}
    return [f"--{name.replace('__', '.')}={value}" for name, value in given.items()]


def test_adapters_and_method_are_trained_saved_resumed_and_loaded(
    pretrained: Path, datasets: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(datasets[0], datasets[1:], ratio="0.25", method="cfg(scale=1.5)")
    with caplog.at_level(logging.INFO), batches() as seen:
        train(settings, [f"--policy.path={pretrained}", *options(tmp_path / "run", peft__r=4)])
    assert [int((each["index"] < 40).sum()) for each in seen] == [2, 2, 2, 2]
    assert "Using PEFT" in caplog.text and " ratio:0.250" in caplog.text
    folder = tmp_path / "run" / "checkpoints" / "000004" / "pretrained_model"
    adapter, method = load_file(folder / "adapter_model.safetensors"), torch.load(folder / FILE)
    assert method["guidance.table"].abs().sum() > 0
    assert all(value.abs().sum() > 0 for name, value in adapter.items() if "action_out_proj.lora_B" in name)

    policy = PeftModel.from_pretrained(SmolVLAPolicy.from_pretrained(pretrained), folder)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    cotrain.load(folder)
    assert torch.equal(cotrain.guidance.table, method["guidance.table"])  # type: ignore[union-attr]
    before, after = make_pre_post_processors(PreTrainedConfig.from_pretrained(folder), str(folder))
    told = [action(cotrain, before, after, scale) for scale in (0.0, 1.0, 3.0)]
    assert told[0].shape == (1, data.ACTION) and not torch.allclose(told[0], told[1])
    assert not torch.allclose(told[1], told[2])

    shutil.rmtree(folder.parent)
    start = tmp_path / "run" / "checkpoints" / "000002" / "pretrained_model" / "train_config.json"
    with batches() as again:
        train(resumed(start), ["--resume=true", f"--config_path={start}"])
    assert [each["index"].tolist() for each in again] == [each["index"].tolist() for each in seen[2:]]
    torch.testing.assert_close(load_file(folder / "adapter_model.safetensors"), adapter, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.load(folder / FILE), method, rtol=1e-4, atol=1e-6)
    with pytest.raises(Refused, match="Merge adapters into it"):
        exported(folder.parent, tmp_path / "deployed")


def action(cotrain: Any, before: Any, after: Any, scale: float) -> torch.Tensor:
    """What the robot is told after one observation."""
    torch.manual_seed(0)
    cotrain.policy.reset()
    image = torch.full((3, data.SIDE, data.SIDE), 0.5)
    seen = before({"observation.state": torch.ones(data.STATE), "observation.images.top": image, "task": "reach"})
    with cotrain.guided(scale=scale), torch.no_grad():
        return after(cotrain.policy.select_action(seen))  # type: ignore[no-any-return]


def test_a_term_reaches_an_encoder_that_learns_and_says_where_none_does(
    pretrained: Path, datasets: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(datasets[0], datasets[1:], ratio="0.5", method="mmd")
    for name, frozen in {"whole": {}, "adapters": {"peft__r": 4}}.items():
        with batches() as seen, pytest.raises(Refused, match=r"must carry a gradient|trainable"):
            train(settings, [f"--policy.path={pretrained}", *options(tmp_path / name, **frozen)])
        assert not seen
    with caplog.at_level(logging.INFO), batches() as seen:
        adapted = options(tmp_path / "run", peft__target_modules=ENCODER, steps=2)
        train(settings, [f"--policy.path={pretrained}", *adapted])
    assert len(seen) == 2 and "raw/mmd:" in caplog.text


def test_the_policy_type_fine_tunes_a_checkpoint_with_adapters_and_goes_on(
    pretrained: Path, datasets: tuple[str, str], tmp_path: Path
) -> None:
    register_third_party_plugins()
    place = [f"--dataset.root={datasets[1]}", "--dataset.repo_id=local/sim", "--policy.type=cotrain"]
    own = {"base_path": pretrained, "method": "cfg", "target_episodes": 0, "device": "cpu", "push_to_hub": "false"}
    own |= {"base_args": json.dumps(RATE)}
    arguments = [f"--policy.{name}={value}" for name, value in own.items()] + run(tmp_path / "run", peft__r=4)
    with batches() as seen:
        trained([*place, *arguments])
    folder = tmp_path / "run" / "checkpoints" / "000004" / "pretrained_model"
    whole = load_file(folder / "model.safetensors")
    assert whole["method.0.table"].abs().sum() > 0
    assert any("lora_B" in name and value.abs().sum() > 0 for name, value in whole.items())
    base = load_file(pretrained / "model.safetensors")
    assert all(torch.equal(value, base[name]) for name, value in stock(whole).items())
    policy = get_policy_class("cotrain").from_pretrained(folder)
    torch.testing.assert_close(dict(policy.state_dict()), whole)

    shutil.rmtree(folder.parent)
    start = tmp_path / "run" / "checkpoints" / "000002" / "pretrained_model" / "train_config.json"
    with batches() as again:
        trained(["--resume=true", f"--config_path={start}"])
    assert [each["index"].tolist() for each in again] == [each["index"].tolist() for each in seen[2:]]
    torch.testing.assert_close(load_file(folder / "model.safetensors"), whole)
    with pytest.raises(Refused, match="Merge them first"):
        exported(folder.parent, tmp_path / "bare", bare=True)


def stock(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an adapted policy has of the policy that it came from, by its names."""
    prefix = "policy.base_model.model."
    own = {name.removeprefix(prefix): value for name, value in state.items() if prefix in name and "lora_" not in name}
    return {name.replace(".base_layer", ""): value for name, value in own.items()}
