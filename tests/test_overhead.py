"""The overhead benchmark measures every method that means something on a policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from cotrain_losses.benchmarks import overhead
from cotrain_losses.benchmarks.results import CannotContinue, read_results


def test_the_suites_own_policy_is_measured_with_every_method(tmp_path: Path) -> None:
    overhead.overhead("suite", 8, 3, "cpu", tmp_path)
    rows = read_results(tmp_path)["rows"]
    assert [row["what"] for row in rows] == [*overhead.METHODS, "guided sampling"]
    assert all(row["bare"] >= 0 and row["ratio"] > 0 for row in rows)
    assert all(row["memory"] >= 1.0 for row in rows[:-1])


def test_a_ratio_is_of_medians_with_the_middle_half_of_neighbours() -> None:
    found = overhead._ratio([(1.0, 2.0), (2.0, 3.0), (4.0, 4.0)])
    assert found["ratio"] == pytest.approx(3.0 / 2.0) and found["low"] <= 1.5 <= found["high"]


def test_a_policy_not_known_is_one_sentence(tmp_path: Path) -> None:
    import typer

    with pytest.raises(typer.Exit):
        overhead.overhead("octo", 8, 3, "cpu", tmp_path)
    assert issubclass(CannotContinue, RuntimeError)
