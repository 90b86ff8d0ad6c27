"""`cotrain advise`: its statistics, its report and its command."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cotrain_losses.cli.advise import advice
from cotrain_losses.cli.advise.batches import batches
from cotrain_losses.cli.advise.statistics import Moments, pooled, summarised
from cotrain_losses.datasets import open_demonstrations
from cotrain_losses.mixing import MixedBatchSampler
from tests.formats import demos, npz, two_domains


@pytest.fixture
def pair(tmp_path):
    return two_domains(tmp_path)


# --- statistics ---


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 1000))
def test_moments_merged_over_pieces_are_those_of_the_whole(sizes, seed):
    pieces = [np.random.default_rng(seed + k).normal(1e4, 1, (n, 2)) for k, n in enumerate(sizes)]
    found, whole = pooled([Moments.of(p) for p in pieces]), np.concatenate(pieces)
    np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, whole.std(0), rtol=1e-6, atol=1e-9)
    assert found.low.tolist() == whole.min(0).tolist() and found.high.tolist() == whole.max(0).tolist()


def test_the_sample_is_of_distinct_frames_and_all_of_them_when_few(tmp_path):
    opened = open_demonstrations(npz(tmp_path / "d.npz", demos(lengths=(30, 20))))
    few = summarised(opened, sample=7, seed=0)
    assert len(few.sample_action) == 7 and len(np.unique(few.sample_action[:, 0])) == 7
    assert len(summarised(opened, sample=1000, seed=0).sample_action) == 50
    assert few.lengths.tolist() == [30, 20] and few.action.count == 50


def test_the_numbers_are_those_of_the_data(pair):
    found = advice(source=[pair[1]], target=pair[0], batch_size=16, ratios=[0.1, 0.5])
    target, source = (
        np.concatenate([a for a, _ in d]) for d in (demos(0, (10, 12, 8)), demos(1, (100,) * 4, shift=1.0))
    )
    assert [d["frames"] for d in found["datasets"]] == [30, 400]
    assert found["datasets"][0]["episode_frames"] == {"min": 8, "median": 10.0, "max": 12}
    assert found["ratio"]["natural"] == pytest.approx(30 / 430)
    assert found["ratio"]["upper"] == pytest.approx(math.sqrt(30 / 400))
    row = found["action_shift"][1]
    assert row["name"] == "y" and row["target_mean"] == pytest.approx(target[:, 1].mean(), abs=1e-5)
    spread = math.sqrt((target[:, 1].var() + source[:, 1].var()) / 2)
    assert row["shift"] == pytest.approx((source[:, 1].mean() - target[:, 1].mean()) / spread, abs=1e-4)
    assert row["pooled_std"] == pytest.approx(np.concatenate([target, source])[:, 1].std(), rel=1e-4)
    assert [b["ratio"] for b in found["batches"]] == [0.1, 0.5]
    assert 0 < found["density_ratio"]["ess_share"] < 1 and found["density_ratio"]["domain_accuracy"] > 0.6
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_at_full_noise_domains_overlap_and_the_target_counts_its_ratio(pair):
    found = advice(source=[pair[1]], target=pair[0], ratios=[0.0, 0.2, 1.0])
    shares = {curve["ratio"]: curve["share"] for curve in found["contribution"]["curves"]}
    assert shares[0.0][-1] == 0.0 and shares[1.0][0] == 1.0
    assert shares[0.2][-1] == pytest.approx(0.2, abs=0.02)
    assert found["overlap"]["bhattacharyya"][-1] > 0.98
    assert found["overlap"]["bhattacharyya"][0] < found["overlap"]["bhattacharyya"][-1]


def test_several_sources_are_described_apart_and_counted_together(pair, tmp_path):
    other = npz(tmp_path / "other.npz", demos(2, (50,)))
    found = advice(source=[pair[1], other], target=pair[0])
    assert found["ratio"]["natural"] == pytest.approx(30 / 480)
    assert {row["source"] for row in found["action_shift"]} == {"sim", "other"}


@pytest.mark.parametrize(("ratio", "size"), [(0.1, 16), (0.016, 64), (0.5, 8), (0.05, 30)])
def test_the_share_of_poor_batches_is_that_of_drawn_ones(ratio, size):
    told, is_target = batches(ratio, batch_size=size, enough=2, source=2000, target=200), np.arange(2200) < 200
    sampler = MixedBatchSampler(is_target, size, ratio)
    exact = np.mean([is_target[sampler.batch(k)].sum() < 2 for k in range(300)])
    assert told["too_few_exact"] == pytest.approx(exact, abs=0.02)
    draws = np.random.default_rng(0).binomial(size, ratio, 20_000)
    assert told["too_few_independent"] == pytest.approx((draws < 2).mean(), abs=4 * 0.5 / math.sqrt(20_000))
    assert told["none_independent"] == pytest.approx((draws < 1).mean(), abs=4 * 0.5 / math.sqrt(20_000))
    assert told["batches_per_epoch"] == len(sampler)
    assert told["target_passes"] == pytest.approx(sampler.passes()["target"], rel=0.02, abs=0.02)


def said(found) -> str:
    return " ".join(f"{item['do']} {item['because']}" for item in found["advice"])


def test_units_and_normalisation_that_differ_are_called_out(tmp_path, pair):
    in_degrees = [(a * 57.3, s) for a, s in demos(3, (40, 40))]
    assert "degrees against radians" in said(advice(source=[npz(tmp_path / "deg.npz", in_degrees)], target=pair[0]))
    unit = npz(tmp_path / "unit.npz", [(np.tanh(a) * 0.2, s) for a, s in demos(4, (40, 40))])
    assert "one of them looks normalised already" in said(advice(source=[unit], target=pair[0]))
    still = npz(tmp_path / "still.npz", [(a * [1, 0], s) for a, s in demos(5, (40, 40))])
    assert "Constant: y (still)" in said(advice(source=[still], target=pair[0]))
    assert "Bring the actions" not in said(advice(source=[pair[1]], target=pair[0]))


def test_a_target_larger_than_its_source_starts_at_a_half(pair):
    assert "Start at a ratio of 0.5" in said(advice(source=[pair[0]], target=pair[1]))


# --- the command ---


@pytest.fixture
def command():
    typer, testing = pytest.importorskip("typer"), pytest.importorskip("typer.testing")
    from cotrain_losses.cli.advise.command import advise

    app = typer.Typer()
    app.command()(advise)
    return lambda *words: testing.CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_prints_tables_or_json_and_writes_files(command, pair, tmp_path):
    asked = ["--target", pair[0], "--source", pair[1], "--batch-size", 16]
    shown = command(*asked, "--out", tmp_path / "out")
    assert shown.exit_code == 0 and "Search the ratio between" in shown.output and "natural" in shown.output
    assert (tmp_path / "out" / "advise.png").read_bytes().startswith(b"\x89PNG")
    html = (tmp_path / "out" / "advise.html").read_text()
    assert "data:image/png;base64," in html and 'src="http' not in html
    assert "prefers-color-scheme: dark" in html and html.count("<table>") == html.count('class="wide"') > 4
    assert "Search the ratio between" in html
    printed = command(*asked, "--json")
    assert json.loads(printed.stdout) == json.loads((tmp_path / "out" / "advise.json").read_text())


def test_what_differs_is_a_table_on_the_page_and_fits_a_narrow_terminal(command, tmp_path, monkeypatch):
    rng, narrow = np.random.default_rng(0), Console(width=48, file=io.StringIO())
    for name, count, factor in (("real", 6, 1.0), ("sim", 20, 57.3)):
        action = [rng.normal(size=(40, 7)) * rng.normal(1, 0.1, 7) * factor for _ in range(count)]
        npz(tmp_path / f"{name}.npz", [(a, np.c_[a[:, :1] / factor, np.full(40, factor)]) for a in action])
    for module in ("report", "advise.render"):
        monkeypatch.setattr(f"cotrain_losses.cli.{module}.console", lambda: narrow)
    command("--target", tmp_path / "real.npz", "--source", tmp_path / "sim.npz", "--out", tmp_path / "out")
    lines = narrow.file.getvalue().partition("What differs")[2].partition("Advice")[0].splitlines()
    assert max(map(len, lines)) <= 48
    assert all(word in " ".join(lines) for word in ("kind", "units", "actions", "constants", "sure"))
    page = (tmp_path / "out" / "advise.html").read_text()
    assert page.index("<h2>What differs</h2>") < page.index("<td>units</td>") < page.index("In pictures")
    assert "<td>constants differ</td>" in page and page.count("What differs") == 1


def test_a_name_is_text_on_the_page_whatever_it_holds(command, pair, tmp_path):
    path = npz(tmp_path / "<script>sim.npz", demos(1, (100,), shift=9.0))
    command("--target", pair[0], "--source", path, "--out", tmp_path / "out")
    html = (tmp_path / "out" / "advise.html").read_text()
    assert "&lt;script&gt;sim" in html and "<script>" not in html


def test_what_cannot_be_read_is_one_sentence(command, pair, tmp_path):
    failed = command("--target", pair[0], "--source", tmp_path / "nowhere")
    assert failed.exit_code == 1 and failed.output.startswith("cotrain advise: ") and "does not exist" in failed.output
    assert "Traceback" not in failed.output


def test_a_missing_source_and_a_missing_ratio_are_errors(pair):
    with pytest.raises(ValueError, match="at least one source"):
        advice(source=[], target=pair[0])
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        advice(source=[pair[1]], target=pair[0], ratios=[3.0])
