"""The toy's curves, its ensemble against a plain loop, and its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from cotrain_bench.toy import curves, experiment, flow
from cotrain_bench.toy.flow import Cell, Training
from cotrain_bench.toy.settings import PRESETS
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

SMALL = Training(depth=2, width=8, steps=6, batch=16)
KEY = [Cell(0.01, 0.0, 7), Cell(0.01, 0.5, 7), Cell(1.0, 0.1, 7), Cell(1.0, 1.0, 7), Cell(50.0, 0.1, 7)]


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# the curves


@given(st.floats(0, 1))
def test_the_target_curve_is_the_source_curve_moved_by_three_and_three(u):
    t = 1.5 * math.pi * (1 + 2 * u)
    source, target = (curves.curve(torch.tensor(u, dtype=torch.float64), target=side) for side in (False, True))
    torch.testing.assert_close(source, torch.tensor([t * math.cos(t), t * math.sin(t)], dtype=torch.float64))
    torch.testing.assert_close(target - source, torch.full((2,), 3.0).double())


def test_target_samples_stop_at_the_edge_of_what_is_seen_and_noise_has_its_width():
    data = curves.data(3)
    source, target = data.positions.split([curves.N_SOURCE, curves.N_TARGET])
    assert target[:, 0].max() < 0.8 < source[:, 0].max()
    noise = data.outputs[: curves.N_SOURCE] - curves.curve(source[:, 0], target=False)
    error = 0.3 / math.sqrt(2 * noise.numel())
    assert abs(noise.std() - 0.3) < 4 * error and abs(noise.mean()) < 4 * 0.3 / math.sqrt(noise.numel())


def test_a_policy_on_the_source_curve_loses_nine_and_one_on_the_target_curve_nothing():
    u = curves.test_positions(50)[:, 0]
    found = curves.scores(torch.stack([curves.curve(u, target=False), curves.curve(u, target=True)]), u)
    torch.testing.assert_close(found["loss"], torch.tensor([9.0, 0.0]))
    torch.testing.assert_close(found["loss_ood"], torch.tensor([9.0, 0.0]))
    assert found["share_source"].tolist() == [1, 0] and found["share_target"].tolist() == [0, 1]


def test_only_inputs_without_target_data_count_as_out_of_distribution():
    u = torch.tensor([0.1, 0.5, 0.9])
    outputs = curves.curve(u, target=True) + torch.tensor([0.0, 0.0, 6.0])[:, None]
    found = curves.scores(outputs, u)
    assert found["loss"].item() == pytest.approx(12, rel=1e-5) and found["loss_ood"].item() == pytest.approx(
        36, rel=1e-5
    )


def test_test_inputs_cover_the_plane_evenly():
    counts = torch.histogramdd(curves.test_positions(400), bins=[4, 4], range=[0, 1, 0, 1]).hist
    assert counts.min() >= 22 and counts.max() <= 28


# the ensemble


def alone(cell: Cell, training: Training) -> nn.Sequential:
    """One cell as anyone would train it: an nn.Sequential and torch's AdamW, fed the same numbers."""
    started = flow.Ensemble([cell.seed], training)
    layers = []
    for weight, bias in zip(started.weights, started.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data, linear.bias.data = weight[0].T.detach().clone(), bias[0, 0].detach().clone()
        layers += [linear, nn.SiLU()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=training.rate, foreach=False)
    data, stream = curves.data(cell.seed), curves.stream("training", cell.seed)
    for step in range(training.steps):
        for group in optimizer.param_groups:
            group["lr"] = training.rate * (1 + math.cos(math.pi * step / training.steps)) / 2
        source = torch.randint(curves.N_SOURCE, (training.batch,), generator=stream)
        target = curves.N_SOURCE + torch.randint(curves.N_TARGET, (training.batch,), generator=stream)
        uniform, time = (torch.rand(training.batch, generator=stream) for _ in range(2))
        noise, rows, wanted = torch.randn(training.batch, 2, generator=stream), [], []
        for i in range(training.batch):
            is_target = uniform[i] < cell.ratio
            k = target[i] if is_target else source[i]
            action, eps, t = data.outputs[k] / 6.5, noise[i], time[i]
            z = torch.tensor([1 + cell.dz if is_target else 1.0])
            waves = [f(2**j * t)[None] for f in (torch.sin, torch.cos) for j in range(4)]
            rows.append(torch.cat([data.positions[k], z, (1 - t) * eps + t * action, *waves]))
            wanted.append(action - eps)
        (net(torch.stack(rows)) - torch.stack(wanted)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


def test_a_cell_of_the_ensemble_is_the_cell_trained_alone(float64):
    cells = [Cell(0.01, 0.0, 0), Cell(1.0, 0.5, 0), Cell(1.0, 0.5, 2), Cell(50.0, 1.0, 2)]
    together = flow.train(cells, SMALL)
    for k, cell in enumerate(cells):
        linear = [layer for layer in alone(cell, SMALL) if isinstance(layer, nn.Linear)]
        for weight, bias, layer in zip(together.weights, together.biases, linear, strict=True):
            torch.testing.assert_close(weight[k].T, layer.weight, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(bias[k, 0], layer.bias, rtol=1e-9, atol=1e-9)


def test_a_cell_is_what_its_settings_say_whatever_trains_beside_it():
    first, again = flow.train([KEY[2]], SMALL), flow.train([KEY[0], KEY[2]], SMALL)
    torch.testing.assert_close(first.weights[1][0], again.weights[1][1])
    other = flow.train([KEY[2]._replace(seed=8)], SMALL)
    assert not torch.allclose(first.weights[1], other.weights[1])


def test_sampling_integrates_the_velocity_from_the_noise():
    ensemble = flow.Ensemble([0, 1], SMALL)
    for parameter in ensemble.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        ensemble.biases[-1][1] = torch.tensor([1.0, -2.0])
    noise = torch.randn(2, 5, 2)
    outputs = ensemble.sample(torch.zeros(2, 5, 3), noise, 7)
    torch.testing.assert_close(outputs[0], 6.5 * noise[0])
    torch.testing.assert_close(outputs[1], 6.5 * (noise[1] + torch.tensor([1.0, -2.0])))


def test_trained_cells_show_the_three_regimes():
    training = PRESETS["smoke"].training
    ensemble, positions = flow.train(KEY, training), curves.test_positions(500)
    outputs = flow.samples(ensemble, KEY, training, positions.expand(len(KEY), -1, -1))
    found = curves.scores(outputs, positions[:, 0])
    source_only, _, aligned, _, disjoint = found["loss"].tolist()
    assert 8 <= source_only <= 11
    assert min(found["share_source"][1], found["share_target"][1]) >= 0.12
    assert aligned < 1.5 and disjoint > 10 * aligned
    assert found["loss_ood"][3] > 10 * found["loss_ood"][2]


# the closed form


def mass_by_loops(data: curves.Data, dz: float, ratio: float, i: int) -> float:
    """The weights of the optimal score at one target training input, sample by sample."""
    u, v = data.positions[curves.N_SOURCE + i].tolist()
    weights = []
    for k, (a, b) in enumerate(data.positions.tolist()):
        is_target = k >= curves.N_SOURCE
        squared = (u - a) ** 2 + (v - b) ** 2 + (0.0 if is_target else dz**2)
        share = ratio / curves.N_TARGET if is_target else (1 - ratio) / curves.N_SOURCE
        weights.append(share * math.exp(-squared / (2 * 0.05**2)))
    return sum(weights[curves.N_SOURCE :]) / sum(weights)


@pytest.mark.parametrize(("dz", "ratio"), [(0.01, 0.5), (0.1, 0.1), (0.05, 0.99), (0.5, 0.001)])
def test_the_closed_form_is_the_sum_of_the_samples_weights(dz, ratio):
    data = curves.data(4)
    found = experiment.target_mass(data, dz, ratio)
    for i in (0, 13, 29):
        assert found[i].item() == pytest.approx(mass_by_loops(data, dz, ratio, i), rel=1e-9)


@pytest.mark.parametrize("dz", [0.01, 1.0, 50.0])
def test_one_domain_alone_answers_alone(dz):
    assert (experiment.target_mass(curves.data(0), dz, 0.0) == 0).all()
    assert (experiment.target_mass(curves.data(0), dz, 1.0) == 1).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_closed_form_overlaps_below_the_kernel_and_is_disjoint_above(seed):
    mass = lambda dz, w: experiment.target_mass(curves.data(seed), dz, w).mean().item()
    overlap = [mass(0.01, w) for w in (0.01, 0.1, 0.5, 0.9)]
    # computed elsewhere over other draws of 30 samples: .034-.037, .27-.29, .76-.78, .965-.969
    assert overlap == pytest.approx([0.0355, 0.28, 0.77, 0.967], abs=0.06)
    assert all(mass(dz, w) == pytest.approx(1, abs=5e-5) for dz in (1.0, 10.0) for w in (0.001, 0.1, 0.9))
