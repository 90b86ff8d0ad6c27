"""`cotrain lerobot-train` is LeRobot's own training script on datasets that were never merged."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import data
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.scripts import lerobot_train
from processes import LAUNCHERS, printed
from safetensors.torch import load_file

from cotrain_losses.cli.lerobot.export import exported
from cotrain_losses.cli.lerobot.launch import train
from cotrain_losses.cli.lerobot.settings import Refused, Settings
from cotrain_losses.policy.keeping import FILE

pytestmark = pytest.mark.integration_lerobot


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("datasets")
    more = {"more": {"observation.extra": 2}, "robot": "sim_arm"}
    made = {
        "real": data.made(root / "real", 4, seed=1),
        "sim": data.made(root / "sim", 8, seed=2, shift=2.0, scale=3.0, **more),  # type: ignore[arg-type]
        "cam_real": data.made(root / "cam_real", 3, cameras=["top"], seed=3),
        "cam_sim": data.made(root / "cam_sim", 4, cameras=["front", "wrist"], seed=4),
    }
    return {name: str(path) for name, path in made.items()}


@contextmanager
def batches() -> Iterator[list[Any]]:
    """The batches that LeRobot trains on, each with noise of its own; its log goes where the test's does."""
    seen, real = list[Any](), lerobot_train.update_policy

    def noted(tracker: Any, policy: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(int(batch["index"].sum()))  # LeRobot does not keep its noise over a resume
        seen.append({name: x.clone() for name, x in batch.items() if isinstance(x, torch.Tensor)})
        return real(tracker, policy, batch, *args, **kwargs)

    with patch.object(lerobot_train, "update_policy", noted), patch.object(lerobot_train, "init_logging"):
        yield seen


def options(out: Path, **more: Any) -> list[str]:
    given = {"output_dir": out, "steps": 4, "log_freq": 2, "save_freq": 100, **more}
    return data.DIFFUSION + [f"--{name.replace('__', '.')}={value}" for name, value in given.items()]


def test_a_run_keeps_its_ratio_holds_out_episodes_and_goes_on_where_it_stopped(
    datasets: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "000006" / "pretrained_model"
    settings = Settings(datasets["real"], (datasets["sim"],), ratio="0.25", method="cfg(scale=1.0) + mmd(strength=0.0)")
    held_out = {"dataset__eval_split": 0.2, "eval_steps": 3}
    with caplog.at_level(logging.INFO), batches() as seen:
        train(settings, options(out, steps=6, save_freq=3, **held_out))
    log = caplog.text
    assert "observation.extra is left out" in log and "robot types differ" in log
    assert log.count("held-out loss of each domain: real") == 2 and "sim" in log
    assert " ratio:0.250" in log and "raw/mmd:" in log
    sizes = [int((each["index"] < 60).sum()) for each in seen]  # 3 of the target's 4 episodes of 20 frames are left
    assert sorted(set(sizes)) == [2, 3] and sum(sizes) == 15
    whole, method = load_file(last / "model.safetensors"), torch.load(last / FILE)
    assert method["guidance.table"].abs().sum() > 0

    shutil.rmtree(out / "checkpoints" / "000006")
    with batches() as again:
        from_there = out / "checkpoints" / "000003" / "pretrained_model" / "train_config.json"
        train(resumed(from_there), ["--resume=true", f"--config_path={from_there}"])
    assert [each["index"].tolist() for each in again] == [each["index"].tolist() for each in seen[3:]]
    torch.testing.assert_close(load_file(last / "model.safetensors"), whole)
    torch.testing.assert_close(torch.load(last / FILE), method)
    assert isinstance(DiffusionPolicy.from_pretrained(last), DiffusionPolicy)
    (last.parents[1] / "000003" / "pretrained_model" / FILE).unlink()
    with pytest.raises(Refused, match=r"holds its method in cotrain_method.pt"):
        train(resumed(from_there), ["--resume=true", f"--config_path={from_there}"])


def resumed(config: Path) -> Settings:
    return Settings.of((config.parent / "cotrain.json").read_text())


def test_cameras_are_renamed_and_the_ratio_is_scheduled(datasets: dict[str, str], tmp_path: Path) -> None:
    settings = Settings(
        datasets["cam_real"], (datasets["cam_sim"],), ratio="0.5@0,0.1@2", method="mmd", rename=("front=top",)
    )
    with batches() as seen:
        train(settings, options(tmp_path / "run"))
    assert [int((each["index"] < 60).sum()) for each in seen] == [5, 5, 1, 1]
    assert {name for name in seen[0] if "images" in name} >= {"observation.images.top"}
    assert not any("wrist" in name or "front" in name for name in seen[0])
    config = json.loads((tmp_path / "run/checkpoints/last/pretrained_model/config.json").read_text())
    assert "observation.images.top" in config["input_features"]


def test_each_way_to_normalise_is_what_it_says_and_deployment_needs_the_processors_alone(
    datasets: dict[str, str], tmp_path: Path
) -> None:
    actions = {}
    for stats in ("target", "pooled", "per-domain"):
        settings = Settings(datasets["real"], (datasets["sim"],), method="cotraining(ratio=0.8)", stats=stats)
        with batches() as seen, saved() as trained:
            train(settings, options(tmp_path / stats, steps=6, save_freq=100))
        each = torch.cat([batch["action"][:, 0] for batch in seen]), torch.cat([batch["index"] < 80 for batch in seen])
        assert each[1].float().mean() == 0.8
        actions[stats] = {"real": each[0][each[1]], "sim": each[0][~each[1]]}
        folder = tmp_path / stats / "checkpoints" / "last" / "pretrained_model"
        stock = DiffusionPolicy.from_pretrained(folder)
        before, after = make_pre_post_processors(stock.config, str(folder))
        given = torch.randn(1, data.ACTION)
        back = after(before({"action": given, "observation.state": torch.randn(1, data.STATE)})["action"])
        torch.testing.assert_close(back, given, rtol=1e-4, atol=1e-4)
        ours = acted(trained["policy"], trained["preprocessor"], trained["postprocessor"])
        torch.testing.assert_close(acted(stock, before, after), ours)
        real, sim = (LeRobotDataset(name, root=datasets[name]).meta.stats["action"]["mean"] for name in ("real", "sim"))
        mean = torch.tensor(0.8 * real + 0.2 * sim if stats == "pooled" else real, dtype=torch.float32)
        held = load_file(folder / "policy_postprocessor_step_0_unnormalizer_processor.safetensors")
        torch.testing.assert_close(held["action.mean"], mean, rtol=1e-4, atol=1e-4)
    assert actions["target"]["real"].abs().max() <= 1.001 < actions["target"]["sim"].abs().max()
    assert max(float(x.abs().max()) for x in actions["pooled"].values()) <= 1.001
    assert all(0.5 < float(x.abs().max()) <= 1.001 for x in actions["per-domain"].values())


@contextmanager
def saved() -> Iterator[dict[str, Any]]:
    """What LeRobot hands to its own saving of a checkpoint: the policy in training, and its processors."""
    held, real = dict[str, Any](), lerobot_train.save_checkpoint

    def noted(*args: Any, **kwargs: Any) -> Any:
        held.update(kwargs)
        return real(*args, **kwargs)

    with patch.object(lerobot_train, "save_checkpoint", noted):
        yield held


def acted(policy: Any, before: Any, after: Any) -> torch.Tensor:
    """What a robot is told after one observation."""
    torch.manual_seed(0)
    policy.eval().reset()
    state = {"observation.state": torch.ones(data.STATE), "observation.environment_state": torch.ones(data.ENVIRONMENT)}
    return after(policy.select_action(before(state)))  # type: ignore[no-any-return]


def test_streams_are_mixed_exactly(datasets: dict[str, str], tmp_path: Path) -> None:
    settings = Settings(datasets["real"], (datasets["sim"],), ratio="0.3")
    with batches() as seen:
        train(settings, options(tmp_path / "run", dataset__streaming="true", steps=3, num_workers=1))
    assert [int((each["index"] == 0).sum()) for each in seen] == [3, 3, 3]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_share_each_step_and_its_ratio(launcher: str, datasets: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "cotrain_losses.cli", "lerobot-train"]
    command += ["--target", datasets["real"], "--source", datasets["sim"], "--ratio", "0.25", "--method", "cfg + probe"]
    command += ["--", *options(tmp_path / "run", steps=3, log_freq=1)]
    said = printed(command, tmp_path / "log")
    assert "Effective batch size: 10 x 2 = 20" in said
    assert said.count(" ratio:0.250") == 3  # 2 and 3 samples of 10, since the 20 of both are one batch
    assert said.count("Checkpoint policy after step") == 1
    assert (tmp_path / "run" / "checkpoints" / "last" / "pretrained_model" / FILE).is_file()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "cgf"}, "a method is one of .* got 'cgf'"),
        ({"method": "adda(width=3, speed=1)"}, "adda takes"),
        ({"method": "mmd"}, "must carry a gradient|trainable"),
        ({"ratio": "1.5"}, r"lies in \[0, 1\]"),
        ({"ratio": "0.2", "method": "real_only"}, "drawn at one ratio"),
        ({"episodes": ("real=2-4",)}, "got 4 for real, which has 4"),
        ({"source": ("nowhere/none",)}, r"got nowhere/none for none, which LeRobot cannot open: \w+: "),
        ({"source": ("/nowhere",)}, r"got /nowhere for nowhere, which LeRobot cannot open: \w+: "),
        ({"episodes": ("real=0-1",), "rename": ("nothing=top",)}, "names a feature of sim, got 'nothing'"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_sentence_before_training(
    datasets: dict[str, str], tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with batches() as seen, pytest.raises((Refused, ValueError), match=words):
        given = {"target": datasets["real"], "source": (datasets["sim"],), **settings}
        train(Settings(**given), options(tmp_path / "run"))
    assert not seen


def test_datasets_that_do_not_fit_together_are_refused(datasets: dict[str, str], tmp_path: Path) -> None:
    wrong = {
        "empty": {"episodes": 0},
        "faster": {"fps": 20},
        "wider": {"action": 4},
        "turned": {"names": ["action_2", "action_1", "action_0"]},
    }
    words = {
        "empty": "for empty, which",
        "faster": "same frames a second",
        "wider": "actions of one shape",
        "turned": "order their actions alike",
    }
    for name, how in wrong.items():
        other = data.made(tmp_path / name, **{"episodes": 1, **how})  # type: ignore[arg-type]
        with pytest.raises(Refused, match=words[name]):
            train(Settings(datasets["real"], (str(other),)), options(tmp_path / f"run_{name}"))


def test_three_datasets_have_their_shares_and_are_exported_as_three_domains(
    datasets: dict[str, str], tmp_path: Path
) -> None:
    sources = (datasets["sim"], str(data.made(tmp_path / "lab", 5, seed=2)))
    settings = Settings(datasets["real"], sources, ratio="real=0.2,sim=0.5,lab=0.3", method="cfg(scale=1.5) + probe")
    with batches() as seen:
        train(settings, options(tmp_path / "run", steps=3))
    ends = torch.tensor([len(LeRobotDataset("local/any", root=each)) for each in (datasets["real"], *sources)]).cumsum(
        0
    )
    counts = [torch.bucketize(each["index"], ends, right=True).bincount(minlength=3).tolist() for each in seen]
    assert counts == [[2, 5, 3]] * 3
    assert "lerobot_policy_cotrain" in exported(tmp_path / "run" / "checkpoints" / "last", tmp_path / "deployed")
    assert json.loads((tmp_path / "deployed" / "config.json").read_text())["domains"] == ["real", "sim", "lab"]


def test_a_feature_of_one_number_is_named_where_the_policy_cannot_take_it(tmp_path: Path) -> None:
    real, sim = (data.made(tmp_path / name, 1, environment=1) for name in ("real", "sim"))
    with pytest.raises(Refused, match=r"LeRobot loads observation\.environment_state, of one number"):
        train(Settings(str(real), (str(sim),)), options(tmp_path / "run"))
