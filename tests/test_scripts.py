"""Training scripts that build their own loaders and policies: labels, ratio, method and checkpoints in a few lines."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from cotrain_losses import CoTrain, DomainGuidance, Method, MixedBatchSampler
from cotrain_losses.mixing import mixed_loaders
from cotrain_losses.policy import after
from tests.fakes import scripts, vla

SIZES = (24, 6)
"""samples of the source, of the target, in this order"""
HERE = sys.modules[__name__]


def method() -> Method:
    return Method(ratio=0.5, guidance=DomainGuidance(drop=0.2))


def robomimic_data() -> scripts.Sequences:
    samples = [{"obs": torch.randn(2, 3), "actions": torch.randn(4, 2)} for _ in range(sum(SIZES))]
    return scripts.Sequences(samples, SIZES)


def chi_data(sizes: tuple[int, int] = SIZES) -> scripts.Sequences:
    samples = [{"obs": {"state": torch.randn(2, 3)}, "action": torch.randn(4, 2)} for _ in range(sum(sizes))]
    return scripts.Sequences(samples, sizes)


def domain(data: Any) -> Tensor | None:
    sizes = getattr(data, "sizes", None)
    return None if sizes is None else torch.arange(sum(sizes)) >= sizes[0]


def is_half(drawn: list[Tensor]) -> bool:
    return all(int((places >= SIZES[0]).sum()) == 3 == len(places) - 3 for places in drawn)


def token(cotrain: CoTrain) -> Tensor:
    assert cotrain.guidance is not None
    return cotrain.guidance.table.detach().clone()


def test_robomimics_script_mixes_trains_saves_and_resumes_a_method(tmp_path: Path) -> None:
    attached = list[CoTrain]()

    def attach(algo: Any, **_: Any) -> None:
        attached.append(CoTrain(algo, method()))
        attached[-1].install(domain=lambda batch: batch["domain"])

    def run(**how: Any) -> list[Tensor]:
        with after(scripts, "algo_factory", attach), mixed_loaders(0.5, domain):
            return scripts.train(robomimic_data(), tmp_path / "last.pth", **how)

    assert is_half(run(epochs=2))
    learned, saved = token(attached[0]), torch.load(tmp_path / "last.pth")["model"]
    assert learned.abs().max() > 0 and torch.equal(saved["cotrain"]["guidance.table"], learned)
    run(epochs=0, resume=True)
    assert torch.equal(token(attached[1]), learned)
    scripts.Algo().deserialize(saved)  # the algo alone needs none of it
    with pytest.warns(UserWarning, match="lacks guidance.table"):
        attached[1].policy.deserialize({name: saved[name] for name in ("nets", "optimizers")})


def test_an_algo_that_loads_its_state_strictly_has_the_method_in_its_checkpoint_too(tmp_path: Path) -> None:
    first, second = scripts.Strict(), scripts.Strict()
    kept, resumed = CoTrain(first, method()), CoTrain(second, method())
    for cotrain in (kept, resumed):
        cotrain.install(domain=lambda batch: batch["domain"])
    kept.guidance.table.data.normal_()
    torch.save(first.serialize(), tmp_path / "model.pth")
    saved = torch.load(tmp_path / "model.pth", weights_only=True)
    scripts.Strict().deserialize(saved)  # stock, for rollouts
    second.deserialize(saved)
    assert torch.equal(token(resumed), token(kept))
    with pytest.warns(UserWarning, match="lacks guidance.table"):
        second.deserialize(scripts.Strict().serialize())


def test_diffusion_policys_workspace_mixes_trains_saves_resumes_and_samples_guided(tmp_path: Path) -> None:
    begun = list[Tensor]()

    def run() -> tuple[Any, CoTrain]:
        begun.clear()
        workspace: Any = scripts.Workspace(chi_data(), chi_data((6, 0)), tmp_path / "latest.ckpt")
        cotrain = CoTrain(workspace.model, method())
        workspace.cotrain = cotrain.install(domain=lambda batch: batch["domain"], optimizer=workspace.optimizer)
        workspace.optimizer.register_step_pre_hook(lambda *_: begun.append(token(cotrain)))
        with mixed_loaders(0.5, domain) as mixed, cotrain.guided(workspace.ema_model, scale=3.0):
            workspace.run()
        assert len(mixed) == 1 and is_half(workspace.drawn) and len(workspace.drawn) == 8
        return workspace, cotrain

    workspace, cotrain = run()
    torch.manual_seed(0)
    again = workspace.ema_model.predict_action({"state": torch.zeros(6, 2, 3)})["action"]
    with cotrain.guided(workspace.ema_model, scale=3.0):
        torch.manual_seed(0)
        assert not torch.equal(workspace.ema_model.predict_action({"state": torch.zeros(6, 2, 3)})["action"], again)
    before = token(cotrain)
    assert before.abs().max() > 0
    assert torch.equal(torch.load(tmp_path / "latest.ckpt")["cotrain"]["guidance.table"], before)
    resumed, later = run()
    assert len(resumed.optimizer.param_groups) == 2
    assert torch.equal(begun[0], before) and not torch.equal(token(later), before)
    steps = resumed.optimizer.state[resumed.optimizer.param_groups[1]["params"][0]]["step"]
    assert steps == 16  # the moments of the first run went on


class OpenPi:
    """The patches of docs/codebases.md, around the structure of openpi's script."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cotrain = SimpleNamespace(checkpoint_dir=folder), list[CoTrain]()
        self.seen = list[Tensor]()

    def attach(self, model: Any, *_: Any) -> None:
        self.cotrain.append(CoTrain(model, method()))
        self.cotrain[-1].install(optimizer="any")

    def batches(self, loader: Any) -> Any:
        for batch in vars(loader)["_data_loader"]:
            self.seen.append(batch["domain"])
            with self.cotrain[-1].labelled(batch.pop("domain")):
                yield scripts.as_observation(batch), batch["actions"]

    def save(self, _: Any, model: Any, optimizer: Any, step: int, config: Any, *more: Any) -> None:
        if (folder := config.checkpoint_dir / str(step)).is_dir():
            self.cotrain[-1].save(folder)

    def load(self, step: int, model: Any, optimizer: Any, folder: Path, *more: Any) -> None:
        self.cotrain[-1].load(folder / str(step))
        self.loaded = token(self.cotrain[-1])

    def run(self, data: Any, monkeypatch: Any, **how: Any) -> Any:
        patches = self
        monkeypatch.setattr(scripts.DataLoaderImpl, "__iter__", lambda loader: patches.batches(loader))
        with (
            after(scripts.models_pytorch, "PI0Pytorch", self.attach),
            after(scripts, "save_checkpoint", self.save),
            after(scripts, "load_checkpoint", self.load, optional=True),
            mixed_loaders(0.5, domain),
        ):
            return scripts.train_loop(self.folder, data, **how)


def test_openpis_script_mixes_trains_saves_and_resumes_a_method(tmp_path: Path, monkeypatch: Any) -> None:
    cameras = lambda: {"base": torch.rand(3, 8, 8), "wrist": torch.rand(3, 8, 8)}
    samples = [
        {"image": cameras(), "state": torch.randn(3), "tokenized_prompt": torch.randint(0, 11, (5,)), "actions": a}
        for a in torch.randn(sum(SIZES), vla.H, 2)
    ]
    patched = OpenPi(tmp_path)
    patched.run(scripts.Sequences(samples, SIZES), monkeypatch, steps=2)
    assert all(int(labels.sum()) == 3 for labels in patched.seen)
    learned = token(patched.cotrain[0])
    assert learned.abs().max() > 0
    patched.run(scripts.Sequences(samples, SIZES), monkeypatch, steps=3, resume=True)
    assert torch.equal(patched.loaded, learned) and not torch.equal(token(patched.cotrain[1]), learned)


# loaders


class Pairs(TensorDataset):
    sizes = SIZES


def dicts(sizes: tuple[int, ...] = SIZES) -> scripts.Sequences:
    return scripts.Sequences([{"x": torch.randn(2)} for _ in range(sum(sizes))], sizes)


@pytest.mark.parametrize("ratio", [0.25, {"sim": 0.75, "real": 0.25}])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_a_sampler_with_the_labels_that_the_function_gives(ratio: Any, workers: int) -> None:
    names = {"domains": ("sim", "real"), "target": "real"}
    with mixed_loaders(ratio, domain, seed=7, **names) as made:
        loader = DataLoader(dicts(), 8, shuffle=True, drop_last=True, num_workers=workers)
    expected = MixedBatchSampler(torch.arange(30) >= 24, 8, 0.25, seed=7, **names)
    batches = list(loader)
    assert [batch["index"].tolist() for batch in batches] == list(expected) and len(loader) == len(expected)
    assert all(torch.equal(batch["domain"], (batch["index"] >= 24).long()) for batch in batches)
    assert repr(made) == repr([expected])


def test_the_target_is_named_where_domains_have_names_of_their_own() -> None:
    names = ("real", "sim_a", "sim_b")
    part = torch.arange(30) % 3
    with pytest.raises(ValueError, match="target"), mixed_loaders(0.5, lambda _: part, domains=names):
        DataLoader(dicts(), 8, shuffle=True)
    with mixed_loaders(0.5, lambda _: part, domains=names, target="real"):
        loader = DataLoader(dicts(), 8, shuffle=True)
    assert all(int((batch["domain"] == 0).sum()) == 4 for batch in loader)


def test_a_loader_built_again_from_one_that_mixes_still_mixes() -> None:
    with mixed_loaders(0.5, domain) as made:
        first = DataLoader(dicts(), 8, shuffle=True)
        again = DataLoader(first.dataset, batch_sampler=first.batch_sampler)
    assert len(made) == 1 and all(int(batch["domain"].sum()) == 4 for batch in again)


def test_held_out_data_and_loaders_in_order_are_labelled_and_not_mixed_and_others_are_left_alone() -> None:
    with mixed_loaders(0.5, domain) as made:
        DataLoader(dicts(), 4, shuffle=True)
        in_order = DataLoader(dicts(), 30)
        of_one = DataLoader(dicts((0, 6)), 6, shuffle=True)
        other = DataLoader(TensorDataset(torch.arange(3)), 3)
    assert len(made) == 1
    assert torch.equal(next(iter(in_order))["domain"], domain(dicts()).long())
    assert next(iter(of_one))["domain"].tolist() == [1] * 6
    assert next(iter(other))[0].tolist() == [0, 1, 2]
    assert "domain" not in next(iter(DataLoader(dicts(), 4)))  # built after the block


def test_a_loader_of_one_process_among_several_takes_its_part_of_the_exact_batch() -> None:
    parts = []
    for rank in range(2):
        with mixed_loaders(0.25, domain):
            of_rank = torch.utils.data.DistributedSampler(dicts(), num_replicas=2, rank=rank)
            parts.append([batch["index"] for batch in DataLoader(dicts(), 4, sampler=of_rank)])
    both = [torch.cat(each) for each in zip(*parts, strict=True)]
    assert len(both) == 4 and all(int((places >= 24).sum()) == 2 for places in both)


def test_a_labelled_dataset_is_else_as_it_was_and_goes_to_workers() -> None:
    with mixed_loaders(0.5, domain):
        labelled = DataLoader(dicts(), 4, shuffle=True).dataset
    assert labelled.sizes == SIZES and len(labelled) == 30
    assert pickle.loads(pickle.dumps(labelled)).sizes == SIZES
    with pytest.raises(AttributeError):
        labelled.nothing  # noqa: B018


def test_what_cannot_be_mixed_is_refused() -> None:
    none = "builds a DataLoader that shuffles samples of several domains, got none"
    with pytest.raises(RuntimeError, match=none), mixed_loaders(0.5, domain):
        DataLoader(dicts(), 4)
    with pytest.raises(ValueError, match="got 29 for a Sequences of 30"), mixed_loaders(0.5, lambda data: [True] * 29):
        DataLoader(dicts(), 4, shuffle=True)
    with pytest.raises(ValueError, match="got one with a batch_sampler of its own"), mixed_loaders(0.5, domain):
        DataLoader(dicts(), batch_sampler=BatchSampler(SequentialSampler(dicts()), 4, False))
    of_tuples = "a label stands among the keys of its sample, got a tuple"
    with pytest.raises(TypeError, match=of_tuples), mixed_loaders(0.5, domain):
        next(iter(DataLoader(Pairs(torch.arange(30)), 4, shuffle=True)))
    assert not hasattr(DataLoader.__init__, "__wrapped__")


# functions of a script


def made(n: int) -> list[int]:
    return [n]


def test_a_scripts_function_hands_over_what_it_returns_while_the_block_runs(monkeypatch: Any) -> None:
    handed: list[Any] = []
    with after(HERE, "made", lambda returned, n: handed.append((returned, n))):
        returned = HERE.made(3)
    assert handed == [(returned, 3)] and returned == [3] and HERE.made(4) == [4] and len(handed) == 1


def test_what_was_handed_over_is_looked_up_as_it_was_before() -> None:
    class Factory:
        @staticmethod
        def make(n: int) -> list[int]:
            return [n]

    class Inherits(Factory):
        pass

    for owner in (Factory, Inherits):
        with after(owner, "make", lambda returned, n: None):
            owner.make(3)
    assert Factory().make(3) == [3] and "make" not in vars(Inherits)


def test_a_function_that_the_script_did_not_call_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="calls made, got none of "), after(HERE, "made", print):
        pass
    with after(HERE, "made", print, optional=True):
        pass
    with pytest.raises(ZeroDivisionError), after(HERE, "made", print):  # the script's own error comes first
        1 / 0  # noqa: B018
