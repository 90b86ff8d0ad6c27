"""The toy: its curves, its ensemble against a plain loop, its closed form, its analysis, and a run from end to end."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
from pathlib import Path

import pytest
import torch
from cotrain_bench.commands import bench
from cotrain_bench.toy import closed_form, curves, findings, flow, study
from cotrain_bench.toy.flow import Cell, Training
from cotrain_bench.toy.settings import PRESETS, Settings, settings
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

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
    found = closed_form.target_mass(data, dz, ratio)
    for i in (0, 13, 29):
        assert found[i].item() == pytest.approx(mass_by_loops(data, dz, ratio, i), rel=1e-9)


@pytest.mark.parametrize("dz", [0.01, 1.0, 50.0])
def test_one_domain_alone_answers_alone(dz):
    assert (closed_form.target_mass(curves.data(0), dz, 0.0) == 0).all()
    assert (closed_form.target_mass(curves.data(0), dz, 1.0) == 1).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_closed_form_overlaps_below_the_kernel_and_is_disjoint_above(seed):
    mass = lambda dz, w: closed_form.target_mass(curves.data(seed), dz, w).mean().item()
    overlap = [mass(0.01, w) for w in (0.01, 0.1, 0.5, 0.9)]
    # computed elsewhere over other draws of 30 samples: .034-.037, .27-.29, .76-.78, .965-.969
    assert overlap == pytest.approx([0.0355, 0.28, 0.77, 0.967], abs=0.06)
    assert all(mass(dz, w) == pytest.approx(1, abs=5e-5) for dz in (1.0, 10.0) for w in (0.001, 0.1, 0.9))


# the analysis


def test_an_additive_grid_has_no_interaction():
    found = findings.variance([[math.exp(a + b) for b in (0.0, 1.0, 2.0)] for a in (0.0, 2.0)])
    assert found == pytest.approx((0.6, 0.4, 0.0), abs=1e-12)


def test_a_grid_that_crosses_is_interaction_alone():
    assert findings.variance([[1.0, 2.0], [2.0, 1.0]]) == pytest.approx((0, 0, 1))


def test_the_published_grid_has_the_shares_that_were_derived_from_it():
    assert findings.variance(list(findings.PUBLISHED.values())) == pytest.approx((0.403, 0.283, 0.314), abs=5e-4)


def made(**changes: float) -> list[dict[str, float]]:
    """Rows of a small grid that reaches every figure, with single values changed, named value_dz_ratio."""
    rows = []
    for dz, base in ((0.01, 9.0), (1.0, 0.5), (50.0, 40.0)):
        for ratio in (0.0, 0.1, 0.5, 1.0):
            loss = base if dz == 0.01 or ratio < 1 else 20.0
            row = {"dz": dz, "ratio": ratio, "seed": 0, "loss": loss * (1 + 0.1 * ratio), "loss_ood": 4 * loss}
            row |= {"share_source": 0.2, "share_target": 0.2}
            for name in list(row):
                row[name] = changes.get(f"{name}_{dz:g}_{ratio:g}", row[name])
            rows.append(row)
    return rows


def test_figures_that_are_met_count_as_reached():
    assert all(check.reached for check in findings.checks(made())) and len(findings.checks(made())) == 6


@pytest.mark.parametrize(
    ("changed", "figure"),
    [
        ({"loss_0.01_0": 11.5}, 0),
        ({"loss_0.01_0": 7.9}, 0),
        ({"share_target_0.01_0.5": 0.11}, 1),
        ({"share_source_0.01_0.5": 0.11}, 1),
        ({"loss_1_0.1": 1.6}, 2),
        ({"loss_ood_1_1": 19.0}, 3),
        ({"loss_50_0.1": 4.9}, 4),
        ({f"loss_{dz}_0.1": 0.0001 for dz in ("0.01", "1", "50")}, 5),
    ],
)
def test_a_figure_that_is_missed_is_said_to_be_missed(changed, figure):
    assert not findings.checks(made(**changed))[figure].reached


# a run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("toy")
    grid = Settings((0.01, 1.0, 50.0), (0.0, 0.1, 0.5, 1.0), (0, 5), Training(depth=2, width=8, steps=3, batch=8))
    study.study("tiny", grid, out)
    return out


def test_a_run_writes_one_row_for_each_cell(folder):
    results = json.loads((folder / "results.json").read_text())
    rows = results["rows"]
    assert len({(row["dz"], row["ratio"], row["seed"]) for row in rows}) == len(rows) == 24
    assert {"dz", "ratio", "seed", "loss", "loss_ood", "share_source", "share_target"} <= set(rows[0])
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert set(results["settings"]["variance_of_log_loss"]) == {"0", "5"} and len(results["settings"]["checks"]) == 12


def test_the_report_needs_no_other_file_and_shows_misses_as_misses(folder):
    page = (folder / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "Not reached: " in page and "published grid" in page and "not reached</td>" in page


# bad input


def ends(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(bench, ["toy", *arguments])
    return result.exit_code, " ".join(result.output.split())


def test_unknown_presets_and_bad_seeds_end_in_one_sentence(tmp_path):
    assert ends("--preset", "huge") == (1, "a preset is one of smoke, paper, got 'huge'.")
    assert ends("--seed", "-1") == (1, "a seed is a whole number from 0 to 2147483647, got -1.")
    assert ends("--seed", "3", "--seed", "3") == (1, "a run takes one or more different seeds, got [3, 3].")
    assert ends("--seed", "three")[0] == 2


def test_a_folder_that_cannot_be_written_ends_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("")
    code, said = ends("--out", str(tmp_path / "file" / "below"))
    assert code == 1 and "could not be written" in said and "--out" in said and "Traceback" not in said


def test_an_interrupt_ends_in_one_sentence_and_leaves_earlier_results(tmp_path):
    (tmp_path / "results.json").write_text("earlier")
    threading.Timer(1.0, signal.raise_signal, [signal.SIGINT]).start()
    code, said = ends("--out", str(tmp_path))
    assert code == 130 and said.endswith("none is finished: the same command starts anew.")
    assert (tmp_path / "results.json").read_text() == "earlier"


def test_the_grids_hold_the_published_distances_and_both_single_domains():
    assert len(PRESETS["smoke"].cells) == 81 and len(PRESETS["paper"].cells) == 9 * 11 * 3
    for preset in PRESETS.values():
        assert {0.0, 1.0} <= set(preset.ratios) and preset.distances == tuple(findings.PUBLISHED)
    assert settings("paper", [9]).seeds == (9,)
