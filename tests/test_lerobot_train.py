"""What `cotrain lerobot-train` decides without LeRobot: options, the fit of datasets, the order of frames, numbers."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cotrain_losses.cli.commands import app
from cotrain_losses.cli.lerobot import files
from cotrain_losses.cli.lerobot.attach import drawn_at
from cotrain_losses.cli.lerobot.export import exported
from cotrain_losses.cli.lerobot.fit import fitted, keys_of
from cotrain_losses.cli.lerobot.frames import MixedFrames
from cotrain_losses.cli.lerobot.joined import Sample, Streams
from cotrain_losses.cli.lerobot.launch import script, warn_if_alone
from cotrain_losses.cli.lerobot.settings import Refused, Settings, ratios
from cotrain_losses.cli.lerobot.statistics import Moved, modes_of
from cotrain_losses.recipes.named import named

SIM, REAL = "org/sim", "org/real"


def test_datasets_are_called_by_the_last_part_of_their_name_where_that_tells_them_apart() -> None:
    assert Settings(REAL, (SIM,)).datasets == {"real": REAL, "sim": SIM}
    assert list(Settings("a/x", ("b/x",)).datasets) == ["a/x", "b/x"]
    assert Settings(REAL, (SIM,)).stats == "pooled"


def test_settings_are_read_back_from_a_checkpoint_and_what_is_given_goes_before() -> None:
    settings = Settings(REAL, (SIM,), ratio="0.3", method="cfg", rename=("sim:a=b",), episodes=("real=0-2",))
    assert Settings.of(settings.text()) == settings
    changed = Settings.of(settings.text(), method="ot", ratio="")
    assert (changed.method, changed.ratio, changed.source) == ("ot", "0.3", (SIM,))


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("0.1", {0: 0.1}),
        ("real=0.2, sim=0.8", {0: {"real": 0.2, "sim": 0.8}}),
        ("0.5@0,0.1@50", {0: 0.5, 50: 0.1}),
        ("0.1@50,0.5", {0: 0.5, 50: 0.1}),
    ],
)
def test_a_ratio_is_a_number_a_share_a_domain_or_a_schedule(text: str, plan: Any) -> None:
    assert ratios(text, ("real", "sim"), "real") == plan


@pytest.mark.parametrize("text", ["half", "0.1@5", "0.1,0.2", "real=much", "0.1@x"])
def test_any_other_ratio_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="--ratio is the share of real"):
        ratios(text, ("real", "sim"), "real")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, r"--ratio is the share of target samples and lies in \[0, 1\]") for text in ("1.5", "-1", "nan")),
        ("0.5@0,1.5@100", r"lies in \[0, 1\], got 1.5"),
        ("real=0.2,sim=0.2", "shares of --ratio sum to 1"),
        ("real=0.2,lab=0.8", r"missing: \['sim'\], unknown: \['lab'\]"),
    ],
)
def test_a_share_that_is_none_is_refused_before_anything_is_loaded(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        ratios(text, ("real", "sim"), "real")


def test_a_run_is_drawn_at_its_own_ratio_or_at_its_methods_and_not_at_two() -> None:
    assert drawn_at("cfg", 0.3, 2) == 0.3
    assert drawn_at("cfg(ratio=0.2) + ot(ratio=0.2)", None, 2) == 0.2
    assert drawn_at("reweighted(ratio=0.1, share=0.4)", None, 2) == 0.4  # what is drawn; its weights make 0.1 of it
    assert drawn_at("structured", None, 2, (6000, 200)) == named("structured", width=1, frames=(6000, 200)).ratio
    for text in ("reweighted(share=0.4)", "real_only", "cfg(ratio=0.2)"):
        with pytest.raises(Refused, match=r"drawn at one ratio, got --ratio 0.1 and a method that draws at .*Leave"):
            drawn_at(text, 0.1, 2)
    with pytest.raises(Refused, match=r"got 'cgf'. Nearest: cfg"):
        drawn_at("cgf", None, 2)


def test_episodes_are_numbers_and_ranges() -> None:
    assert Settings(REAL, (SIM,), episodes=("sim=3,1-2",)).selected == {"sim": [1, 2, 3]}
    with pytest.raises(Refused, match="--episodes: episodes are numbers and ranges"):
        assert Settings(REAL, (SIM,), episodes=("sim=2-1",)).selected
    with pytest.raises(Refused, match="NAME one of real, sim, got 'other'"):
        assert Settings(REAL, (SIM,), episodes=("other=1",)).selected
    with pytest.raises(Refused, match="takes each NAME once, got sim=1, sim=2"):
        assert Settings(REAL, (SIM,), episodes=("sim=1", "sim=2")).selected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": ()}, "pass --target and --source"),
        ({"stats": "mine"}, "--stats is one of target, pooled, per-domain, got 'mine'"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        Settings(**{"target": REAL, "source": (SIM,), **given})
    with pytest.raises(Refused, match="twice"):
        assert Settings(REAL, (REAL,)).datasets
    with pytest.raises(Refused, match="--rename takes OLD=NEW"):
        assert Settings(REAL, (SIM,), rename=("elsewhere:a=b",)).renamed


def feature(*shape: int, dtype: str = "float32", names: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "names": names}


def info(fps: int = 10, robot: str = "arm", **features: Any) -> Any:
    keys = {"action": "action"} | {name: f"observation.{name.replace('__', '.')}" for name in features}
    named = {keys[name]: each for name, each in {"action": feature(3), **features}.items()}
    return SimpleNamespace(fps=fps, robot_type=robot, features=named)


NONE = {"real": {}, "sim": {}}


def test_features_of_one_shape_are_kept_and_the_others_are_told() -> None:
    real = info(state=feature(4), images__top=feature(8, 8, 3, dtype="image"), force=feature(2))
    sim = info(robot="sim_arm", state=feature(4), images__top=feature(8, 8, 3, dtype="video"), force=feature(3))
    fit = fitted({"real": real, "sim": sim}, NONE, "real")
    assert set(fit.features) == {"action", "observation.state", "observation.images.top"}
    assert fit.told == [
        "observation.force is left out, since not all have it in one shape (real [2], sim [3])",
        "robot types differ (real arm, sim sim_arm); actions are mixed as they are",
    ]


def test_a_camera_is_renamed_by_its_key_or_by_its_last_part() -> None:
    real, sim = info(images__top=feature(8, 8, 3, dtype="image")), info(images__front=feature(8, 8, 3, dtype="image"))
    for old, new in (("front", "top"), ("observation.images.front", "observation.images.top")):
        fit = fitted({"real": real, "sim": sim}, {"real": {}, "sim": {old: new}}, "real")
        assert "observation.images.top" in fit.features
        assert keys_of("sim", sim.features, {old: new}) == {"observation.images.front": "observation.images.top"}
    with pytest.raises(Refused, match="names a feature of sim, got 'side'"):
        fitted({"real": real, "sim": sim}, {"real": {}, "sim": {"side": "top"}}, "real")
    with pytest.raises(Refused, match=r"share an observation, got real \['observation.images.top'\]"):
        fitted({"real": real, "sim": sim}, NONE, "real")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (info(fps=20, state=feature(4)), "same frames a second"),
        (
            SimpleNamespace(**vars(info(state=feature(4))) | {"features": {"action": feature(4)}}),
            "actions of one shape",
        ),
        (SimpleNamespace(**vars(info()) | {"features": {"observation.state": feature(4)}}), "actions of one shape"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(other: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fitted({"real": info(state=feature(4)), "sim": other}, NONE, "real")


def test_actions_in_another_order_are_refused_and_other_names_are_told() -> None:
    named = {name: info(state=feature(4)) for name in ("real", "sim")}
    named["real"].features["action"] = feature(3, names=["x", "y", "z"])
    named["sim"].features["action"] = feature(3, names=["z", "y", "x"])
    with pytest.raises(Refused, match="order their actions alike"):
        fitted(named, NONE, "real")
    named["sim"].features["action"] = feature(3, names={"motors": ["a", "b", "c"]})
    assert "actions are named differently" in fitted(named, NONE, "real").told[0]


def frames(world_size: int = 1, **how: Any) -> MixedFrames:
    places, domain = torch.arange(100, 148), torch.arange(48) >= 12
    plan = how.pop("plan", {0: 0.25})
    names = {"domains": ("real", "sim"), "target": "real"}
    return MixedFrames(places, domain.long(), 8, plan, world_size, **names, **how)


def drawn(sampler: MixedFrames, epochs: int = 1) -> list[list[int]]:
    """The batches that LeRobot's loader cuts."""
    order = [place for _ in range(epochs) for place in sampler]
    return [order[i : i + 8] for i in range(0, len(order), 8)]


def test_every_batch_that_is_cut_from_the_order_has_the_exact_ratio() -> None:
    batches = drawn(frames(), epochs=3)
    assert {len(batch) for batch in batches} == {8} and len(batches) == 3 * 6
    assert {sum(place < 112 for place in batch) for batch in batches} == {2}
    one = [place for batch in batches[:6] for place in batch]
    assert sorted(place for place in one if place >= 112) == list(range(112, 148))


def test_a_scheduled_ratio_begins_with_its_step_on_every_rank() -> None:
    sizes = [sum(place < 112 for place in batch) for batch in drawn(frames(2, plan={0: 0.5, 2: 0.25}))]
    assert sizes[:8] == [4, 4, 4, 4, 2, 2, 2, 2] and len(sizes) % 2 == 0


def test_a_run_goes_on_at_the_next_batch_in_any_epoch() -> None:
    whole = drawn(frames(), epochs=3)
    for done in (0, 1, 5, 6, 7, 13):
        sampler = frames()
        epoch, batch = divmod(done, sampler.batches)
        sampler.load_state_dict({"epoch": epoch, "start_index": 8 * batch})
        assert drawn(sampler, epochs=2)[: 18 - done] == whole[done : done + 12 - batch]
    sampler = frames()
    list(sampler)
    assert sampler.state_dict() == {"epoch": 1, "start_index": 0}


def test_streams_are_dealt_in_batches_of_exact_shares() -> None:
    sample = Sample({"x": None}, {"y": "x"})
    streams = {"real": [{"x": torch.zeros(1), "task": "t"}] * 3, "sim": [{"y": torch.ones(1), "more": 1}] * 5}
    dealt = iter(Streams(streams, {"real": sample, "sim": sample}, None, [0.3, 0.7], 10))
    for _ in range(4):
        batch = [next(dealt) for _ in range(10)]
        assert sum(int(each["index"] == 0) for each in batch) == 3
        assert all(float(each["x"]) == float(each["index"]) and "more" not in each for each in batch)
    with pytest.raises(Refused, match="got a list that gives none"):
        next(iter(Streams({"real": [], "sim": []}, {"real": sample, "sim": sample}, None, [0.3, 0.7], 10)))


def test_what_is_padded_is_renamed_too_and_pixels_are_in_the_unit_range() -> None:
    sample = Sample({"new": None}, {"old": "new"})
    kept = sample({"old": torch.full((2,), 255, dtype=torch.uint8), "old_is_pad": torch.ones(2), "index": 9}, 4)
    assert (
        set(kept) == {"new", "new_is_pad", "index"} and int(kept["index"]) == 4 and kept["new"].tolist() == [1.0, 1.0]
    )


@pytest.mark.parametrize(("mode", "ends"), [("MEAN_STD", ("mean", "std")), ("MIN_MAX", ("min", "max"))])
def test_a_source_that_is_moved_is_normalised_to_what_its_own_numbers_make(mode: str, ends: tuple[str, str]) -> None:
    source = {"action": dict(zip(ends, ([1.0, 2.0], [3.0, 6.0]), strict=True))}
    target = {"action": dict(zip(ends, ([0.0, -1.0], [4.0, 9.0]), strict=True))}
    x = torch.randn(5, 2)

    def normalised(x: torch.Tensor, stats: Any) -> torch.Tensor:
        low, high = (torch.tensor(stats["action"][end]) for end in ends)
        return (x - low) / high if mode == "MEAN_STD" else 2 * (x - low) / (high - low) - 1

    moved = Moved(source, target, {"action": mode})({"action": x, "other": x})
    torch.testing.assert_close(normalised(moved["action"], target), normalised(x, source))
    assert moved["other"] is x
    with pytest.raises(Refused, match="needs q01, q99 of action"):
        Moved(source, target, {"action": "QUANTILES"})
    assert not Moved(source, target, {"action": "IDENTITY"}).maps


def test_images_are_not_moved() -> None:
    features = {"action": SimpleNamespace(type="ACTION"), "observation.images.top": SimpleNamespace(type="VISUAL")}
    assert modes_of(features, {"ACTION": SimpleNamespace(value="MIN_MAX"), "VISUAL": "MEAN_STD"}) == {
        "action": "MIN_MAX"
    }


def checkpoint(folder: Path, **changed: str | bytes) -> Path:
    """A checkpoint of a policy without weights; `changed` files are others."""
    written = {"config.json": '{"type": "act"}', "model.safetensors": b"\2\0\0\0\0\0\0\0{}", **changed}
    for name, held in written.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(held.encode() if isinstance(held, str) else held)
    return folder


def test_export_reads_whole_checkpoints_and_writes_new_folders(tmp_path: Path) -> None:
    for held, words in (([], "config.json"), (["config.json"], "Merge adapters")):
        for name in held:
            (tmp_path / name).write_text("{}")
        with pytest.raises(Refused, match=words):
            exported(tmp_path, tmp_path)
    whole = checkpoint(tmp_path / "whole")
    assert "without this package" in exported(whole, tmp_path / "new")
    for taken in (tmp_path / "new", whole / "inside", whole):
        with pytest.raises(Refused, match="new folder"):
            exported(whole, taken)
    ran = CliRunner().invoke(app, ["export", str(tmp_path / "none"), "--out", str(tmp_path / "newer")])
    assert ran.exit_code == 1 and "a LeRobot checkpoint holds a config.json" in ran.output


PLUGIN = '{"type": "cotrain", "base_type": "act", "base_args": {}, "method": "cotraining"}'
DAMAGED: dict[str, dict[str, str | bytes]] = {
    "no JSON": {"config.json": "{"},
    "bytes": {"config.json": b'{"type": "\xff'},
    "a list": {"config.json": "[]"},
    "deep": {"config.json": "[" * 100_000},
    "no type": {"config.json": "{}"},
    "a number for a type": {"config.json": '{"type": 3}'},
    "no method": {"config.json": '{"type": "cotrain"}'},
    "another method": {"config.json": PLUGIN.replace("cotraining", "sorcery(")},
    "code for a method": {"config.json": PLUGIN.replace("cotraining", "__import__('os').abort()")},
    "a list for arguments": {"config.json": PLUGIN.replace("{}", "[]")},
    "no weights": {"model.safetensors": b""},
    "a pointer": {"model.safetensors": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"},
    "a long header": {"model.safetensors": b"\xff" * 8 + b"{}"},
    "settings are no JSON": {"cotrain.json": "{"},
    "settings are a list": {"cotrain.json": "[]"},
    "settings are empty": {"cotrain.json": "{}"},
    "settings are numbers": {"cotrain.json": '{"target": 1, "source": [2], "method": 3}'},
    "guided, no method's state": {"cotrain.json": '{"target": "a", "source": ["b"], "method": "cfg", "domains": {}}'},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_export_refuses_a_damaged_checkpoint_in_one_sentence_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    damaged = checkpoint(tmp_path / "damaged", **DAMAGED[name])
    ran = CliRunner().invoke(app, ["export", str(damaged), "--out", str(tmp_path / "new")])
    assert ran.exit_code == 1 and isinstance(ran.exception, SystemExit)
    assert ran.output.startswith("cotrain export: ") and ran.output.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_without_lerobot_one_sentence_says_what_to_install() -> None:
    ran = CliRunner().invoke(app, ["lerobot-train", "--target", REAL, "--source", SIM, "--", "--steps=3"])
    assert ran.exit_code == 1 and "Install it: pip install" in ran.output
    ran = CliRunner().invoke(app, ["lerobot-train", "--", "--steps=3"])
    assert ran.exit_code == 1 and "pass --target and --source" in ran.output


def test_a_lone_process_of_several_that_accelerate_was_asked_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_alone()  # one was asked for
        monkeypatch.setenv("MASTER_PORT", "29500")
        monkeypatch.setenv("LOCAL_RANK", "0")
        warn_if_alone()
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.warns(UserWarning, match="Pass --multi_gpu in place of --cpu"):
        warn_if_alone()


def test_an_unknown_lerobot_is_refused_by_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("lerobot.scripts.lerobot_train")
    other.EpisodeAwareSampler = other.save_checkpoint = object()  # type: ignore[attr-defined]
    scripts = ModuleType("lerobot.scripts")
    scripts.lerobot_train = other  # type: ignore[attr-defined]
    for name, module in {"lerobot": ModuleType("lerobot"), "lerobot.scripts": scripts, other.__name__: other}.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(Refused, match=r"has no make_train_eval_datasets, .*It is tested with 0.6.1"):
        script()


def test_a_method_is_given_back_what_it_had_learned_and_no_other_methods(tmp_path: Path) -> None:
    aligned, guided = named("adda(width=4)"), named("cfg(width=4)")
    trained = aligned + guided
    for parameter in trained.parameters():
        parameter.data.normal_()
    fresh = named("cfg_adda", width=4)
    files.write(tmp_path, Settings(REAL, (SIM,)), {}, trained)
    files.load(fresh, tmp_path)
    for ours, theirs in zip(fresh.parameters(), trained.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    drawn_next = [m.guidance.dropped(torch.zeros(50, dtype=torch.long)) for m in (fresh, trained)]  # type: ignore[union-attr]
    assert torch.equal(*drawn_next)
    with pytest.raises(Refused, match=r"has guidance.table.*which this method has not.*Pass the --method"):
        files.load(named("adda(width=4)"), tmp_path)
    with pytest.raises(Refused, match=r"lacks regularizer.*they begin anew.*Pass the --method"):
        files.write(tmp_path, Settings(REAL, (SIM,)), {}, guided)
        files.load(fresh, tmp_path)
    with pytest.raises(Refused, match=r"holds its method in cotrain_method.pt"):
        files.load(fresh, tmp_path / "none")
