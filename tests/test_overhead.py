"""The overhead benchmark measures every method that means something on a policy."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from cotrain_bench import overhead
from cotrain_bench.peers import problems
from cotrain_bench.results import read_results
from cotrain_bench.weights_cost import weights_cost


@pytest.fixture(autouse=True)
def _few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cotrain_bench.weights_cost.BLOCKS", 3)


def test_the_suites_own_policy_is_measured_with_every_method(tmp_path: Path) -> None:
    overhead.overhead("suite", 8, 3, "", "cpu", tmp_path)
    rows = read_results(tmp_path)["rows"]
    assert [row["what"] for row in rows] == [*overhead.METHODS, *overhead.EXTRA]
    assert all(row["bare"] > 0 and row["low"] <= row["high"] for row in rows)
    assert all(row["memory"] >= 1.0 for row in rows if row["what"] in overhead.METHODS)


def test_only_what_is_wanted_is_measured_and_an_unknown_method_is_one_sentence(tmp_path: Path) -> None:
    overhead.overhead("suite", 8, 3, "measured weights,mmd", "cpu", tmp_path)
    assert [row["what"] for row in read_results(tmp_path)["rows"]] == ["mmd", "measured weights"]
    with pytest.raises(typer.Exit):
        overhead.overhead("suite", 8, 3, "mdm", "cpu", tmp_path)


def test_measured_weights_are_timed_with_a_reading_in_every_block_and_the_held_out_loss_spread_over_it() -> None:
    calls: list[float] = []
    cost = weights_cost(8, 64, 16, lambda: calls.append(sum(range(200_000))))
    assert len(calls) == 4 and 0 < cost.held_out < 1e-3 and cost.low <= cost.weights <= cost.high


def test_a_ratio_is_of_medians_with_the_middle_half_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([1.0, 2.0, 3.0, 2.0, 4.0, 4.0])  # bare and wrapped, then the other way round, then as at first
    monkeypatch.setattr(problems, "seconds", lambda job, device: next(took))
    (row,) = overhead.measured("suite", 8, 3, "cpu", ["weights"])
    assert row["bare"] == 2.0 and row["ratio"] == 3.0 / 2.0
    assert (row["low"], row["high"]) == pytest.approx((1.0, 2.0))  # quartiles of 2, 3 / 2 and 1


def test_a_policy_not_known_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        overhead.overhead("octo", 8, 3, "", "cpu", tmp_path)
    assert "a policy is one of suite, diffusion-image" in capsys.readouterr().err
