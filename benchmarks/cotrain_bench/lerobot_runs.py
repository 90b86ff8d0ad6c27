"""`cotrain lerobot-train` on two small datasets: how long a run takes, and what guidance costs an action.

Runs where LeRobot 0.6.1 is installed: python -m cotrain_bench.lerobot_runs time | action
"""

from __future__ import annotations

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

import cotrain_losses as ctl

STATE, ACTION, LENGTH, HORIZON, WINDOW = 4, 3, 40, 8, 4
POLICY = [
    *("--policy.type=diffusion", "--policy.push_to_hub=false", "--policy.device=cpu", f"--policy.horizon={HORIZON}"),
    *(f"--policy.n_action_steps={WINDOW}", "--policy.noise_scheduler_type=DDIM", "--policy.num_inference_steps=5"),
    *("--num_workers=0", "--save_freq=100000", "--log_freq=1000", "--policy.optimizer_lr=1e-3"),
]
app = typer.Typer(add_completion=False, help=__doc__.split("\n")[0])


@app.command("time")
def took(steps: int = 200, batch: int = 8, threads: int = 2) -> None:
    """Seconds from the command to its checkpoint, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        real, sim = (str(_dataset(Path(folder) / name, n)) for name, n in (("real", 4), ("sim", 20)))
        ours = f"lerobot-train --target {real} --source {sim} --ratio 0.1 --method cfg --".split()
        theirs = [*POLICY, f"--output_dir={folder}/run", f"--steps={steps}", f"--batch_size={batch}"]
        command = [sys.executable, "-m", "cotrain_losses.cli", *ours, *theirs, "--policy.down_dims=[64,128]"]
        begun = time.time()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (Path(folder) / "run/checkpoints/last/pretrained_model/cotrain_method.pt").is_file()
    seconds, cpu = time.time() - begun, used.ru_utime + used.ru_stime
    told = f"{seconds:.0f} s, {cpu:.0f} CPU s; load {os.getloadavg()[0]:.1f}"
    print(f"{steps} steps of {batch}, {threads} threads: {told}")


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


def _dataset(folder: Path, episodes: int) -> Path:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    widths = {"observation.state": STATE, "observation.environment_state": STATE, "action": ACTION}
    features = {key: {"dtype": "float32", "shape": (n,), "names": None} for key, n in widths.items()}
    data = LeRobotDataset.create(f"local/{folder.name}", root=folder, fps=10, features=features, use_videos=False)
    random = np.random.default_rng(0)
    for _ in range(episodes):
        for _ in range(LENGTH):
            frame = {key: random.normal(size=n).astype(np.float32) for key, n in widths.items()}
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


if __name__ == "__main__":
    app()
