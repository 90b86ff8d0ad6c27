"""Which part of the source has no target data: the measure, and who speaks of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotrain_losses.cli.advise import advice
from cotrain_losses.measures import diagnosis, uncovered
from cotrain_losses.measures.sides import Side
from tests.formats import npz


def episodes(seed: int, number: int, low: float, high: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """(actions, states) of episodes that start in a box whose first side is [low, high], and wander a little."""
    draws, found = np.random.default_rng(seed), []
    for _ in range(number):
        start = np.array([draws.uniform(low, high), *draws.uniform(0, 1, 2)])
        state = start + 0.015 * draws.standard_normal((20, 3)).cumsum(0)
        found.append((draws.standard_normal((20, 2)), state))
    return found


def side(*how) -> Side:
    drawn = episodes(*how)
    return Side.of("states", np.concatenate([x for _, x in drawn]), np.arange(len(drawn)).repeat(20))


@pytest.mark.parametrize("target", [15, 30])
def test_half_of_the_source_is_uncovered_where_the_target_has_half_and_the_cut_says_which(target):
    found = uncovered(side(0, 60, 0, 1), side(1, target, 0, 0.5))
    assert found.certain and 0.3 < found.share < 0.65 and abs(found.share - found.episodes) < 0.1
    assert found.cut.dimension == 0 and found.cut.above and 0.4 < found.cut.value < 0.75 and found.cut.accuracy > 0.8
    whole = uncovered(side(0, 60, 0, 1), side(1, target, 0, 1))
    assert not whole.certain and whole.share < 0.25


def test_it_is_the_definition_and_asks_for_two_target_episodes():
    source, target = side(0, 4, 0, 1), side(1, 3, 0, 0.5)
    unit = target.features.std(0)
    near = lambda x, rows: min(float(((x - y) / unit).norm()) for y in rows)
    own = [near(target.features[i], target.features[target.groups != target.groups[i]]) for i in range(len(target))]
    beyond = [near(x, target.features) > np.quantile(own, 0.95) for x in source.features]
    found = uncovered(source, target)
    assert found.share == pytest.approx(np.mean(beyond))
    assert found.episodes == pytest.approx(np.mean(np.reshape(beyond, (4, 20)).mean(1) > 0.5))
    assert uncovered(source, side(1, 1, 0, 1)) is None


@pytest.mark.parametrize("factor", [5.0, 1e-20, 1e20])
@pytest.mark.parametrize("still", [False, True], ids=["", "the target holds a dimension still"])
def test_no_shift_and_no_scale_common_to_both_changes_what_is_uncovered(factor, still):
    keep = torch.tensor([1.0, 1.0, 0.0 if still else 1.0])
    source, target = side(0, 4, 0, 1), side(1, 3, 0, 0.5)
    target = Side(target.features * keep, target.groups, True)
    moved = [Side(factor * (each.features + 3), each.groups, True) for each in (source, target)]
    assert uncovered(*moved).share == pytest.approx(uncovered(source, target).share)


def test_advice_names_the_region_and_is_silent_where_the_target_is_everywhere(tmp_path):
    source = npz(tmp_path / "sim.npz", episodes(0, 40, 0, 1))
    half, whole = (npz(tmp_path / f"real{k}.npz", episodes(1, 10, 0, high)) for k, high in enumerate((0.5, 1.0)))
    given = [advice(source=[source], target=t)["advice"] for t in (half, whole)]
    said = [" ".join(a["do"] for a in each) for each in given]
    assert "[docs/transfer.md, Results]" in next(a["because"] for a in given[0] if "Count success" in a["do"])
    assert (
        "Count success separately where sim has data and the target has none" in said[0]
        and "state 0 is above" in said[0]
    )
    assert "Count success" not in said[1]


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_a_diagnosis_notes_the_region_but_where_the_whole_layer_keeps_the_domains_apart(shift):
    sides = [side(0, 40, 0, 1), side(1, 20, 0, 0.5)]
    how = {"source_groups": sides[0].groups, "target_groups": sides[1].groups, "rows": 100, "repeats": 2}
    source, target = (torch.as_tensor(each.features) for each in sides)
    found = diagnosis(source + shift, target, **how)
    assert any("of the source's rows" in note for note in found.notes) == (shift == 0)
    assert found.as_dict()["uncovered"]["share"] > 0.3 and (found.regime.name == "disjoint") == (shift > 0)
