"""Rollouts, the cells of a run, and a run from end to end."""

from __future__ import annotations

import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim import comparison, figures, summary
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.comparison import settings as chosen
from cotrain_bench.sim2sim.compute import compute
from cotrain_bench.sim2sim.evaluation import roll_out
from cotrain_bench.sim2sim.gaps import GAPS
from cotrain_bench.sim2sim.image_cell import ImageCell
from cotrain_bench.sim2sim.policy import FlowPolicy
from cotrain_bench.sim2sim.run import Runner, check_device
from cotrain_bench.sim2sim.world import Episode, World

from tests.cells import drawn, world


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


def test_an_episode_runs_as_it_would_alone_with_the_noise_of_its_row():
    def noisy(observations):  # the policy of a row depends on its observation and its row of the noise
        return torch.randn(3, 8, 4)[: len(observations)] + observations[:, 1:, :4]

    here = World("pick-place", GAPS["control"])
    here.task = replace(here.task, horizon=20)
    together = roll_out(noisy, here, [1, 2, 3], seed=0, watched=3)
    alone = roll_out(noisy, here, [1], seed=0, watched=1)
    np.testing.assert_array_equal(together.paths[0], alone.paths[0])
    np.testing.assert_array_equal(together.goals[0], alone.goals[0])
    assert together.steps == [20, 20, 20] and len(together.paths[0]) == 21


def test_the_experts_motions_replayed_open_loop_solve_the_episode():
    here = world("none")
    episode, motions = here.episode(4), []
    while not episode.success:
        motions.append(episode.expert())
        episode.step(motions[-1])
    chunks = iter(torch.tensor(np.array(motions + [motions[-1]] * 8)).split(8))
    found = roll_out(lambda observations: next(chunks)[None], here, [4], seed=0)
    assert found.solved == [True] and found.steps == [len(motions)]


def test_a_policy_is_given_the_last_two_observations_and_no_other_is_made(monkeypatch):
    here, given, made = World("pick-place", GAPS["control"]), [], []
    here.task = replace(here.task, horizon=19)
    chunks = torch.randn(3, 1, 8, 4)
    observation = Episode.observation
    monkeypatch.setattr(Episode, "observation", lambda self: made.append(observation(self)) or made[-1])

    def noted(observations):
        given.append(observations[0].numpy())
        return chunks[len(given) - 1]

    roll_out(noted, here, [1], seed=0)
    assert len(made) == 1 + 3 * 2
    episode = here.episode(1)
    seen = [observation(episode)]
    for command in chunks.flatten(0, 2).double().numpy()[:16]:
        episode.step(command)
        seen.append(observation(episode))
    for k, (past, now) in enumerate([(0, 0), (7, 8), (15, 16)]):
        np.testing.assert_array_equal(given[k], np.stack([seen[past], seen[now]]).astype(np.float32))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda o: torch.zeros(len(o), 4), r"shape \(episodes, horizon, 4\), got \(2, 4\) for 2 episodes"),
        (lambda o: torch.full((len(o), 8, 4), math.nan), "finite commands, got NaN"),
    ],
)
def test_a_policy_of_wrong_shape_or_without_numbers_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        roll_out(policy, world("none"), [0, 1], seed=0)


# a whole run


def test_no_two_domains_or_seeds_share_an_episode():
    used = []
    for seed in (0, 1):
        (cell,) = chosen("demo", seed=seed, methods=("cotraining",)).cells()
        for request in cell.requests().values():
            used.append(range(request.seed, request.seed + 4 * request.count + 20 + request.count))
        used.append(cell.evaluation_seeds())
    joined = [k for some in used for k in some]
    assert len(set(joined)) == len(joined)


CHANGES = {
    "gap": "hard",
    "ratio": 0.3,
    "label": True,
    "scales": (0.0,),
    "policy": f"{FlowPolicy.__module__}:flow",
    "method": "cfg",
    "coverage": "half",
    "strength": 0.3,
    "device": "cuda",
}


@pytest.mark.parametrize("what", [*CHANGES, "seed", "target_demos", "source_demos", "episodes", "unlabelled"])
def test_every_setting_of_a_cell_changes_its_key(what):
    cell = Cell("cfg_adda")
    assert replace(cell, **{what: CHANGES.get(what, 7)}).key() != cell.key() == Cell("cfg_adda").key()
    assert replace(cell, budget=Budget(steps=7)).key() != cell.key()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "adda "}, r"a method is one of real_only, .* got 'adda '"),
        ({"ratio": 1.1}, r"lies in \[0, 1\], got 1.1"),
        ({"episodes": 0}, "episodes counts from 1, got 0"),
        ({"coverage": "half", "episodes": 5}, "as many episodes are seen as unseen.* got 5"),
        ({"strength": 0.0}, "a strength is above 0, got unlabelled=0 and strength=0.0"),
        ({"budget": Budget(steps=0)}, "steps counts optimizer steps from 1, got 0"),
        ({"seed": 1000}, r"lies in \[0, 999\].*got 1000"),
        ({"scales": (1.0,)}, "scales are of a guided method, cfg or cfg_adda or structured"),
    ],
)
def test_a_cell_that_means_nothing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Cell(**change)


@pytest.mark.parametrize("said", ["No such thing. It goes on.", "No such thing.\nIt goes on", "No such thing"])
def test_a_device_that_torch_refuses_is_one_sentence_of_torchs_and_a_remedy(said, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "ones", refuse)
    with pytest.raises(CannotContinue, match=r"got 'mps': No such thing\. Leave it out to train on the CPU\.$"):
        check_device("mps")


def test_a_cell_goes_to_another_process_as_it_is():
    for cell in (Cell("cfg_adda", scales=(0.0,), device="cuda"), ImageCell(look="other")):
        work, there = pickle.loads(pickle.dumps((compute, cell)))
        assert work is compute and there == cell and there.key() == cell.key()


def test_a_run_writes_everything_and_run_again_computes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cotrain_bench.sim2sim.cell.EPISODES", 2)  # of fresh demonstrations
    monkeypatch.setattr("cotrain_bench.sim2sim.run.executor", lambda *_: ThreadPoolExecutor(1))
    run = chosen("smoke", methods=("real_only", "cfg_adda"), source_demos=3, target_demos=1, steps=5, episodes=2)
    out = tmp_path / "out"
    results = comparison.compare(run, out, Runner(workers=1))
    assert [row["method"] for row in results["rows"]] == ["real_only", "cfg_adda"]
    assert json.loads((out / "results.json").read_text()) == results
    for row in results["rows"]:
        assert row["successes"] == sum(row["outcomes"]) and row["low"] <= row["success"] <= row["high"]
        assert "one trained policy" in row["interval"]
    assert (out / "results.csv").read_text().count("\n") == 3
    for name in ("success", "rollouts", "features"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert "+ CFG-ADDA" in page and "ONE trained policy" in page and "command yaw 30.0" in page
    written = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(written) == 2
    assert comparison.compare(run, out, Runner(workers=1))["rows"] == results["rows"]
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == written


def test_a_policy_under_a_balanced_weight_has_a_picture_of_what_the_weight_went_by():
    series = {"discernibility": [None, 0.95, 0.8], "factor": [0.0, 0.1, 0.1], "braked": [1.0, 0.0, 1.0]}
    row = {f"reading_domain_classifier/{name}": numbers for name, numbers in series.items()} | {"method": "structured"}
    assert figures.balanced_terms(row) == ["domain_classifier"] and figures.balanced_terms({"method": "adda"}) == []
    plot = figures.balance([(row, "domain_classifier"), (row, "domain_classifier")])
    for axes in plot.axes:
        probe, share = (line.get_xydata().tolist() for line in axes.get_lines())
        assert probe[1:] == [[200.0, 0.95], [300.0, 0.8]] and math.isnan(probe[0][1])
        assert share == [[100.0, 0.0], [200.0, 0.1], [300.0, 0.1]]
        assert axes.get_title() == "structured (ours): domain classifier"


def test_the_headline_says_whether_the_intervals_overlap():
    def row(method, success, low, high):
        return {"method": method, "success": success, "low": low, "high": high}

    apart = summary.headline([row("real_only", 0.1, 0.05, 0.2), row("cotraining", 0.5, 0.4, 0.6)])
    assert apart == (
        "Target only solves 10% [5%, 20%], plain co-training 50% [40%, 60%]: the intervals do not overlap."
    )
    assert summary.headline([row("real_only", 0.1, 0.05, 0.4), row("cotraining", 0.5, 0.4, 0.6)]).endswith(
        "the intervals overlap."
    )


def test_the_command_of_a_report_repeats_its_settings():
    from cotrain_bench.sim2sim.comparison import PRESETS
    from typer.testing import CliRunner

    from cotrain_losses.cli.commands import app

    for run in PRESETS.values():
        words = summary.command(
            comparison.described(run, {name: drawn(0, [3]) for name in ("source", "target")})
        ).split()
        assert CliRunner().invoke(app, [*words[1:], "--help"]).exit_code == 0
        given = dict(zip(words[3::2], words[4::2], strict=True))
        again = chosen(
            "demo",
            **{
                "task": given["--task"],
                "gap": given["--gap"],
                "device": given["--device"],
                "methods": tuple(given["--methods"].split(",")),
                "ratio": float(given["--ratio"]),
                **{n: int(given[f"--{n.replace('_', '-')}"]) for n in ("seed", "target_demos", "source_demos")},
                **{n: int(given[f"--{n}"]) for n in ("steps", "episodes")},
            },
        )
        assert again == run
