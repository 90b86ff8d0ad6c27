"""`cotrain lerobot-train` on two small datasets: by what to normalise, how long a run takes, what guidance costs.

    error = mean over held-out windows of |a_hat - a|^2 / var(a)        in the target's own units, whatever `--stats`

Runs where LeRobot 0.6.1 is installed: python -m cotrain_bench.lerobot_runs stats | time | action
"""

from __future__ import annotations

import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

import cotrain_losses as ctl
from cotrain_losses.cli.lerobot.launch import train
from cotrain_losses.cli.lerobot.settings import STATISTICS, Settings

Array = NDArray[np.float32]
STATE, ACTION, LENGTH, HORIZON, WINDOW = 4, 3, 40, 8, 4
CASES: dict[str, tuple[float, float, float]] = {"other units": (1.0, 3.0, 2.0), "wider range": (3.0, 1.0, 0.0)}
"""of the source: how much wider its states spread, then the factor and the offset of the units it is written in"""
POLICY = [
    *("--policy.type=diffusion", "--policy.push_to_hub=false", "--policy.device=cpu", f"--policy.horizon={HORIZON}"),
    *(f"--policy.n_action_steps={WINDOW}", "--policy.noise_scheduler_type=DDIM", "--policy.num_inference_steps=5"),
    *("--num_workers=0", "--save_freq=100000", "--log_freq=1000", "--policy.optimizer_lr=1e-3"),
]
app = typer.Typer(add_completion=False, help=__doc__.split("\n")[0])


@app.command()
def stats(seeds: int = 5, steps: int = 200, ratio: float = 0.3) -> None:
    """The held-out error of the target under each `--stats`, and its difference from `target` over pairs of runs."""
    logging.disable(logging.INFO)
    for case in CASES:
        pairs = [_trained(case, seed, steps, ratio) for seed in range(seeds)]
        for how in STATISTICS:
            each = [errors[how] for errors in pairs]
            differences = [errors[how] - errors["target"] for errors in pairs]
            print(f"{case}: {how:<11} error {_mean(each)}   minus target {_mean(differences)}", flush=True)


@app.command("time")
def took(steps: int = 200, batch: int = 64) -> None:
    """Seconds from the command to its checkpoint, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        real, sim = (
            _dataset(Path(folder) / name, episodes, 1.0, 1.0, 0.0, 0) for name, episodes in (("real", 4), ("sim", 20))
        )
        command = [
            sys.executable,
            "-m",
            "cotrain_losses.cli",
            "lerobot-train",
            "--target",
            str(real),
            "--source",
            str(sim),
        ]
        command += [
            "--ratio",
            "0.1",
            "--method",
            "cfg",
            "--",
            *POLICY,
            f"--output_dir={folder}/run",
            f"--steps={steps}",
        ]
        command += [f"--batch_size={batch}", "--policy.down_dims=[64,128]"]
        begun = time.time()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (Path(folder) / "run/checkpoints/last/pretrained_model/cotrain_method.pt").is_file()
    cpu = used.ru_utime + used.ru_stime
    print(f"{steps} steps of {batch}: {time.time() - begun:.0f} s, {cpu:.0f} CPU s; load {os.getloadavg()[0]:.1f}")


@app.command()
def action(rounds: int = 9) -> None:
    """CPU milliseconds that one `select_action` takes, a chunk's sampling shared by its actions, bare and guided."""
    torch.set_num_threads(1)
    policy = _policy()
    cotrain = ctl.CoTrain(policy, ctl.Method(guidance=ctl.DomainGuidance()))
    observed = {"observation.state": torch.zeros(1, STATE), "observation.environment_state": torch.zeros(1, STATE)}
    chunk, scales = policy.config.n_action_steps, (None, 0.0, 1.0, 3.0)
    rows = [[_milliseconds(cotrain, observed, scale, chunk) for scale in scales] for _ in range(rounds + 1)][1:]
    for scale, each in zip(scales, zip(*rows, strict=True), strict=True):
        print(f"scale {scale}: {statistics.median(each):.2f} ms an action, of {chunk} a chunk")


def _trained(case: str, seed: int, steps: int, ratio: float) -> dict[str, float]:
    """The held-out error of one run for each `--stats`, on the same demonstrations."""
    spread, factor, offset = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        real = _dataset(Path(folder) / "real", 3, 1.0, 1.0, 0.0, 2 * seed)
        sim = _dataset(Path(folder) / "sim", 12, spread, factor, offset, 2 * seed + 1)
        options = [*POLICY, f"--steps={steps}", f"--seed={seed}", "--batch_size=32", "--policy.down_dims=[16,32]"]
        for how in STATISTICS:
            settings = Settings(str(real), (str(sim),), ratio=str(ratio), stats=how)
            train(settings, [*options, f"--output_dir={folder}/{how}"])
        return {how: _error(Path(folder) / how / "checkpoints/last/pretrained_model") for how in STATISTICS}


def _error(checkpoint: Path) -> float:
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
    from lerobot.policies.factory import make_pre_post_processors

    policy = DiffusionPolicy.from_pretrained(checkpoint).eval()
    before, after = make_pre_post_processors(policy.config, str(checkpoint))
    states, actions = zip(*(_episode(np.random.default_rng(10_000 + k), 1.0) for k in range(10)), strict=True)
    firsts = range(1, LENGTH - WINDOW, WINDOW)
    seen = torch.tensor(np.stack([s[t - 1 : t + 1] for s in states for t in firsts]))
    wanted = torch.tensor(np.stack([a[t : t + WINDOW] for a in actions for t in firsts]))
    torch.manual_seed(0)
    batch = before({"observation.state": seen, "observation.environment_state": seen})
    given = {name: value for name, value in batch.items() if name.startswith("observation") and value is not None}
    with torch.no_grad():
        predicted = after(policy.diffusion.generate_actions(given))
    return float(((predicted - wanted).square().mean((0, 1)) / wanted.flatten(0, 1).var(0)).mean())


def _episode(random: np.random.Generator, spread: float) -> tuple[Array, Array]:
    """States that wander, and actions that are one function of them in both domains."""
    state, states = random.normal(size=STATE), []
    for _ in range(LENGTH):
        state = 0.9 * state + 0.4 * random.normal(size=STATE)
        states.append(spread * state)
    mix = np.random.default_rng(7).normal(size=(STATE, ACTION))
    return np.array(states, np.float32), np.tanh(np.array(states) @ mix).astype(np.float32)


def _dataset(folder: Path, episodes: int, spread: float, factor: float, offset: float, seed: int) -> Path:
    """A LeRobot dataset in its own units: factor * x + offset."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    widths = {"observation.state": STATE, "observation.environment_state": STATE, "action": ACTION}
    features = {key: {"dtype": "float32", "shape": (n,), "names": None} for key, n in widths.items()}
    data = LeRobotDataset.create(f"local/{folder.name}", root=folder, fps=10, features=features, use_videos=False)
    random = np.random.default_rng(seed)
    for _ in range(episodes):
        for state, act in zip(*_episode(random, spread), strict=True):
            state, act = (factor * x + np.float32(offset) for x in (state, act))
            frame = {"observation.state": state, "observation.environment_state": state, "action": act}
            data.add_frame({**frame, "task": "follow"})
        data.save_episode()
    data.finalize()
    return folder


def _policy() -> Any:
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    kinds = {"observation.state": FeatureType.STATE, "observation.environment_state": FeatureType.ENV}
    inputs = {name: PolicyFeature(kind, (STATE,)) for name, kind in kinds.items()}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (ACTION,))}
    how: dict[str, Any] = {"down_dims": (64, 128, 256), "num_inference_steps": 10, "device": "cpu"}
    return DiffusionPolicy(DiffusionConfig(input_features=inputs, output_features=outputs, **how)).eval()


def _milliseconds(cotrain: ctl.CoTrain, observed: Any, scale: float | None, calls: int) -> float:
    def sample() -> None:
        for _ in range(calls):
            cotrain.policy.select_action(dict(observed))

    cotrain.policy.reset()
    begun = time.process_time()
    if scale is None:
        sample()
    else:
        with cotrain.guided(scale=scale):
            sample()
    return 1000 * (time.process_time() - begun) / calls


def _mean(values: list[float]) -> str:
    """The mean and its 95 % interval, Student's t."""
    from scipy.stats import t  # type: ignore[import-untyped]

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5 if any(values) else 0.0
    return f"{statistics.mean(values):+.3f} +- {half:.3f}"


if __name__ == "__main__":
    app()
