"""The toy with an encoder: its ensemble against `CoTrain`, what arms do to inputs, and how a band is judged."""

from __future__ import annotations

import csv
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from cotrain_bench.commands import bench
from cotrain_bench.paired import t_interval
from cotrain_bench.toy import arms, bands, curves, grid
from cotrain_bench.toy.arms import ARMS, Arm
from cotrain_bench.toy.encoded import Budget, Experiment
from cotrain_bench.toy.flow import Cell, Stack, waves
from torch import Tensor, nn
from typer.testing import CliRunner

import cotrain_losses as ctl
from cotrain_losses.strength import relative

SMALL = Budget(steps=4, batch=20, euler=1)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def as_modules(stack: Stack, cell: int) -> nn.Sequential:
    """One cell's MLP as anyone would write it."""
    layers: list[nn.Module] = []
    for weight, bias in zip(stack.weights, stack.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data, linear.bias.data = weight[cell].T.detach().clone(), bias[cell, 0].detach().clone()
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class Head(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, noisy: Tensor, time: Tensor, z: Tensor) -> Tensor:
        return self.net(torch.cat([z, noisy, waves(time)], -1))


class Policy(nn.Module):
    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, Head(head)

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        noisy = torch.lerp(batch["noise"], batch["output"], batch["time"][:, None])
        velocity = self.head(noisy, batch["time"], z=self.encoder(batch["x"]))
        return (velocity - (batch["output"] - batch["noise"])).square().mean()


def relatively(strength: float) -> ctl.Regularizer:
    return relative(strength) * ctl.MMD()


MEASURED = Arm("measured", asks=relatively, strength=0.3, holds_out=1e-9)


@pytest.mark.parametrize("arm", [ARMS["plain"], ARMS["pooled"], ARMS["mmd"], ARMS["adda"], MEASURED])
def test_a_cell_of_the_ensemble_is_a_policy_that_cotrain_trains_on_the_same_batches(arm, float64):
    cells = [Cell(1.0, 0.1, 3), Cell(20.0, 0.5, 3)]
    together, batches, k = Experiment(arm, cells, SMALL), Experiment(arm, cells, SMALL), 1
    policy = Policy(as_modules(together.model.encoder, k), as_modules(together.model.head, k))
    together.train()
    torch.manual_seed(cells[k].seed)
    asked = None if arm.asks is None else arm.asks(arm.strength)
    cotrain = ctl.CoTrain(policy, ctl.Method(0.5, asked), seam=ctl.Seam(head="head", condition="z", width=arms.WIDTH))
    optimizer = torch.optim.AdamW(policy.parameters(), SMALL.rate)
    if plugins := list(cotrain.plugin_parameters()):
        optimizer.add_param_group({"params": plugins, "weight_decay": 0.0})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, SMALL.steps)
    for step in range(SMALL.steps):
        rows = batches.batch(curves.N_TARGET)
        batch = {name: getattr(rows, name)[k] for name in ("x", "output", "noise", "time")}
        cotrain(batch, domain=batches.is_target[k], step=step).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    for stack, modules in ((together.model.encoder, policy.encoder), (together.model.head, policy.head.net)):
        for weight, layer in zip(stack.weights, modules[::2], strict=True):
            torch.testing.assert_close(weight[k].T, layer.weight, rtol=1e-7, atol=1e-9)


def inputs(arm: Arm, dz: float) -> tuple[Tensor, Tensor]:
    """Every sample of a seed as an arm normalises it: source, target."""
    experiment = Experiment(arm, [Cell(dz, 0.1, 0)], SMALL)
    sides = experiment.positions.split([curves.N_SOURCE, curves.N_TARGET], dim=1)
    source, target = (experiment.inputs(p, torch.full(p.shape[:2], bool(k)))[0] for k, p in enumerate(sides))
    return source, target


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.blind])
def test_inputs_of_a_blind_arm_are_the_same_at_every_distance(name, float64):
    for near, far in zip(inputs(ARMS[name], 0.01), inputs(ARMS[name], 50.0), strict=True):
        torch.testing.assert_close(near, far, rtol=0, atol=1e-2)  # the least deviation is 1e-4, rounding 1e-7


def test_inputs_of_the_other_arms_keep_their_distance():
    source, target = inputs(ARMS["adda"], 50.0)
    assert (target[:, 2].mean() - source[:, 2].mean()).item() == pytest.approx(50.0)


def test_each_normalisation_is_what_it_says():
    source, target = inputs(ARMS["pooled"], 5.0)
    torch.testing.assert_close(torch.cat([source, target]).std(0), torch.ones(3), rtol=0, atol=1e-3)
    source, target = inputs(ARMS["ranged"], 5.0)
    assert torch.cat([source, target]).aminmax(dim=0).max.tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    for side in inputs(ARMS["by_domain"], 5.0):
        torch.testing.assert_close(side.mean(0), torch.zeros(3), rtol=0, atol=2e-2)
    source, target = inputs(ARMS["moved"], 5.0)
    torch.testing.assert_close(target[:, 2], source[: len(target), 2], rtol=0, atol=1e-5)


def test_half_guidance_is_half_way_from_no_label_to_the_label():
    experiment = Experiment(ARMS["cfg"], [Cell(1.0, 0.5, 0)], SMALL)
    model, x, noise = experiment.train(), torch.rand(1, 6, 3), torch.randn(1, 6, 2)
    none, half, whole = (model.sample(x, noise, scale, steps=1) for scale in (None, 0.5, 1.0))
    assert not torch.allclose(none, whole)
    torch.testing.assert_close(half, (none + whole) / 2)


def test_a_batch_has_its_share_of_target_rows_and_none_that_are_held_out():
    experiment = Experiment(ARMS["structured"], [Cell(1.0, w, 0) for w in (0.05, 0.1, 0.5)], SMALL)
    assert experiment.is_target.sum(1).tolist() == [1, 2, 10]
    outputs = experiment.outputs[0]
    held = outputs[-6:]
    for _ in range(30):
        drawn = experiment.batch(curves.N_TARGET - 6).output
        assert not (drawn[..., None, :] == held).all(-1).any()


def test_a_structured_arm_learns_of_the_samples_it_holds_out_and_is_given_them_back(monkeypatch):
    arm = replace(ARMS["structured"], holds_out=0.95)
    experiment = Experiment(arm, [Cell(1.0, 0.5, 0)], replace(SMALL, steps=110))
    asked, told = list[int](), list[float]()
    batch = experiment.batch
    monkeypatch.setattr(experiment, "batch", lambda targets: asked.append(targets) or batch(targets))
    for strength in experiment.terms[0].measured_strengths():
        monkeypatch.setattr(strength, "on_target_loss", told.append)
    experiment.train()
    assert asked == [curves.N_TARGET - 6] * 104 + [curves.N_TARGET] * 6
    assert told and all(map(math.isfinite, told))


# how a band is judged


def made(factors: dict[int, float], loss: float = 4.0) -> list[dict[str, object]]:
    """Plain and OT in every band; OT's loss is plain's times a factor of the seed."""
    rows = []
    for seed, factor in factors.items():
        for dz in (0.1, 1.0, 20.0, 50.0):
            named = {"dz": dz, "ratio": 0.1, "seed": seed, "scale": None}
            rows += [{"arm": "plain", "loss": loss, **named}, {"arm": "ot", "loss": loss * factor, **named}]
    return rows


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        ({0: 0.1, 1: 0.11, 2: 0.09}, "cures"),
        ({0: 0.8, 1: 0.81, 2: 0.79}, "helps"),
        ({0: 2.0, 1: 2.1, 2: 1.9}, "harms"),
        ({0: 0.1, 1: 10.0, 2: 1.0}, "no change shown"),
    ],
)
def test_a_band_is_judged_by_its_interval_and_by_how_many_cells_are_solved(factors, verdict):
    found = bands.outcome(made(factors), "ot", None, bands.BANDS["disjoint"])
    assert found.verdict == verdict and found.seeds == len(factors)
    assert found.difference == pytest.approx(sum(map(math.log10, factors.values())) / len(factors))


def test_the_interval_of_a_mean_is_students():
    mean, low, high = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445 * math.sqrt(2.5 / 5)  # the 97.5 % point of t with four degrees of freedom
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)


# a study


@pytest.fixture
def tiny(monkeypatch):
    block = grid.Block("plain", 0, distances=(0.01, 20.0, 50.0, 1.0), ratios=(0.1,), budget=SMALL)
    blocks = [replace(block, arm=arm, seed=seed) for seed in (0, 1) for arm in ("plain", "moved", "cfg")]
    monkeypatch.setitem(grid.STUDIES, "grid", lambda: blocks)


def ends(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(bench, ["toy", *arguments])
    return result.exit_code, " ".join(result.output.split())


def test_a_study_is_kept_block_by_block_and_reported_so_far(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "executor", lambda *_: ThreadPoolExecutor(1))
    out = str(tmp_path)
    assert ends("--study", "grid", "--so-far", "--out", out)[1].startswith("no block of grid is finished")
    code, said = ends("--study", "grid", "--out", out)
    assert code == 0 and "6 of 6 arms and seeds are finished" in said
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(rows) == 2 * 4 * (1 + 1 + 2) and {row["dz"] for row in rows if row["arm"] == "moved"} == {
        "0.01",
        "1.0",
        "20.0",
        "50.0",
    }
    next((tmp_path / "cells").glob("*.json")).unlink()
    assert grid.run("grid", tmp_path, so_far=True)[2] == 1
    assert "6 of 6 arms" in ends("--study", "grid", "--out", out)[1]
    assert list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines())) == rows


def test_a_study_takes_no_settings_of_a_run(tmp_path):
    assert ends("--study", "grid", "--seed", "3", "--out", str(tmp_path))[1].startswith("a study has cells of its own")
    assert ends("--study", "map", "--out", str(tmp_path))[1].startswith("a study of the toy is one of strengths, grid")


def test_one_seed_has_no_interval_and_two_have_no_verdict():
    found = bands.outcome(made({0: 0.1}), "ot", None, bands.BANDS["disjoint"])
    assert found.verdict == "too few seeds" and (found.low, found.high) == (-math.inf, math.inf)
    assert bands.outcome(made({0: 0.1, 1: 0.1}), "ot", None, bands.BANDS["disjoint"]).verdict == "too few seeds"
    (line,) = (line for line in bands.band_table(made({0: 0.1})).rows if line[0] == "OT")
    assert line[1] == 1 and line[-1] == "100% (0.4), x 0.1: too few seeds"
