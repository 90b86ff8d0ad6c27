"""What does not act is told: terms never met, a method never stepped, a loss around the installed entry; memory."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Rows, Seam
from cotrain_losses.strength import relative
from tests.fakes import hpt
from tests.sited import case, joined
from tests.test_sites import labels
from tests.toy import Policy, batch
from tests.training import Gap
from tests.wrapped import LABELS, SEAM, Critic, policy


def one_domain(step: int) -> tuple[dict[str, Any], Tensor]:
    """HPT's batches: real and sim in turn."""
    torch.manual_seed(step)
    name = ("real", "sim")[step % 2]
    return hpt.batch(name), torch.full((hpt.B,), name == "real")


def test_terms_skipped_from_the_first_step_on_are_told_after_five_with_the_cure() -> None:
    cotrain = joined("hpt-real", case("hpt-real"), Method(regularizer=0.1 * MMD()))
    for step in range(4):
        b, known = one_domain(step)
        assert cotrain(b, domain=known).skipped == ("mmd",)
    said = r"mmd was skipped in each of the first 5 steps.*Mix the domains.*CoTrain\(memory=64\)"
    b, known = one_domain(4)
    with pytest.warns(UserWarning, match=said):
        cotrain(b, domain=known)
    cotrain(b, domain=known)  # once


def test_a_term_met_once_is_not_told() -> None:
    cotrain = CoTrain(policy(), Method(regularizer=0.1 * Gap()), seam=SEAM)
    cotrain(batch(), domain=LABELS)
    for _ in range(8):
        assert cotrain(batch(), domain=torch.zeros(6, dtype=torch.bool)).skipped


def test_memory_compares_a_batch_of_one_domain_with_kept_rows_of_the_other() -> None:
    cotrain = joined("hpt-real", c := case("hpt-real"), Method(regularizer=1.0 * Gap()), memory=8)
    features = [c.policy.forward_features(b["domain"][0], b["data"]) for b, _ in map(one_domain, range(4))]
    skipped = []
    for step in range(4):
        b, known = one_domain(step)
        losses = cotrain(b, domain=known)
        skipped.append(losses.skipped)
        if step:
            real, sim = (torch.cat([features[j] for j in range(step + 1) if j % 2 == side]) for side in (0, 1))
            real, sim = (x[-8:] if j != step % 2 else _filled(x) for j, x in enumerate((real, sim)))
            torch.testing.assert_close(losses.raw["gap"], Gap()(sim, real).detach())
            losses.total.backward()
    assert skipped == [("gap",), (), (), ()]
    assert c.policy.trunk["trunk"][0].weight.grad is not None  # type: ignore[index,union-attr]


def _filled(own: Tensor) -> Tensor:
    """The six rows of this batch and the latest two kept of its domain."""
    return torch.cat([own[-6:], own[:-6][-2:]])


def test_kept_rows_carry_no_gradient_and_a_batch_with_enough_is_as_without_memory() -> None:
    ours, theirs = policy(), policy()
    kept = CoTrain(ours, Method(regularizer=0.5 * Gap()), seam=SEAM, memory=2)
    bare = CoTrain(theirs, Method(regularizer=0.5 * Gap()), seam=SEAM)
    for seed in range(3):
        torch.manual_seed(seed)
        mine = kept(batch(seed), domain=LABELS)
        torch.manual_seed(seed)
        assert torch.equal(mine.total, bare(batch(seed), domain=LABELS).total)
    torch.manual_seed(9)
    losses = kept(batch(5), domain=torch.zeros(6, dtype=torch.bool))
    target = ours.encoder(batch(2)["observation"])[LABELS].detach()
    value = 0.5 * Gap()(ours.encoder(batch(5)["observation"]), target)
    torch.testing.assert_close(losses.regularizer, value.detach())
    torch.manual_seed(9)
    expected = ours.compute_loss(batch(5)) + value
    ours_now, by_hand = (torch.autograd.grad(x, ours.encoder[2].weight)[0] for x in (losses.total, expected))
    torch.testing.assert_close(ours_now, by_hand)


def test_memory_keeps_what_is_known_of_its_rows_and_measured_strengths_go_on() -> None:
    seen: list[Rows] = []

    class Seen(Critic):
        def compare(self, pair: Any) -> Tensor:
            seen.append(pair.target)
            return super().compare(pair)

    regularizer = relative(0.1) * Seen(4, extra=None)
    cotrain = CoTrain(
        policy(), Method(regularizer=regularizer), seam=SEAM, memory=6,
        groups=lambda b: b["task"], extras=lambda b: {"action": b["action"]},
    )  # fmt: skip
    b = {**batch(), "task": torch.tensor([0, 0, 1, 1, 0, 1])}
    for known in (LABELS, torch.zeros(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)):
        cotrain(b, domain=known).total.backward()
    assert torch.equal(seen[-1].extras["action"], b["action"][LABELS]) and seen[-1].group.tolist() == [0, 1]


def test_a_check_keeps_no_rows_and_a_memory_is_a_number_of_rows() -> None:
    cotrain = CoTrain(policy(), Method(regularizer=0.1 * Gap()), seam=SEAM, memory=4)
    cotrain.check(batch(), domain=LABELS)
    assert cotrain(batch(), domain=torch.zeros(6, dtype=torch.bool)).skipped == ("gap",)
    with pytest.raises(ValueError, match="memory is a whole number, 0 or more, got memory=-1"):
        CoTrain(policy(), Method(), memory=-1)


class Loop:
    """A user's own loop with an optimizer for the policy, which may hold the method too."""

    def __init__(self, method: Method, held: str = "none", accumulate: int = 1) -> None:
        self.policy = policy()
        self.cotrain = CoTrain(self.policy, method, seam=SEAM)
        own = {"none": [], "all": list(self.cotrain.plugin_parameters())}
        own["guidance"] = [] if method.guidance is None else list(method.guidance.parameters())
        self.optimizer = torch.optim.SGD([*self.policy.parameters(), *own[held]], 0.01)
        self.accumulate = accumulate

    def run(self, steps: int, skip: bool = False) -> None:
        for step in range(steps):
            self.cotrain(batch(step), domain=LABELS).total.backward()
            if (step + 1) % self.accumulate == 0:
                if not skip:
                    self.optimizer.step()
                self.cotrain.zero_grad()


def both() -> Method:
    return Method(regularizer=-0.1 * DomainClassifier(width=4).double(), guidance=DomainGuidance(4))


@pytest.mark.parametrize("held", ["none", "guidance"])
def test_a_method_that_the_optimizer_does_not_hold_is_told_after_three_of_its_steps(held: str) -> None:
    loop = Loop(both(), held)
    loop.run(3)
    with pytest.warns(UserWarning, match=r"3 optimizer steps that left some as they were.*add_param_group"):
        loop.run(1)
    loop.run(6)  # once


@pytest.mark.parametrize(
    ("held", "accumulate", "skip"), [("all", 1, False), ("all", 3, False), ("none", 8, False), ("none", 1, True)]
)
def test_a_method_that_learns_accumulates_or_is_skipped_with_the_policy_is_not_told(
    held: str, accumulate: int, skip: bool
) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Loop(both(), held, accumulate).run(9, skip)
    assert told == []


def test_accumulated_steps_of_a_method_not_held_are_counted_by_the_optimizers_steps() -> None:
    loop = Loop(both(), accumulate=2)
    loop.run(6)
    with pytest.warns(UserWarning, match="3 optimizer steps"):
        loop.run(1)


def test_a_copy_and_a_pickle_of_the_whole_tell_it_too() -> None:
    loop = Loop(both())
    for whole in (copy.deepcopy(loop.cotrain), pickle.loads(pickle.dumps(loop.cotrain))):
        loop.cotrain, loop.policy = whole, whole.policy
        loop.optimizer = torch.optim.SGD(loop.policy.parameters(), 0.01)
        with pytest.warns(UserWarning, match="3 optimizer steps"):
            loop.run(5)


def test_a_step_of_a_gradscaler_that_is_skipped_is_not_told() -> None:
    loop, scaler = Loop(both()), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = [p.clone() for p in loop.policy.parameters()]
    for step in range(6):
        total = loop.cotrain(batch(step), domain=LABELS).total
        scaler.scale(total * float("inf")).backward()
        scaler.step(loop.optimizer)
        scaler.update()
        loop.cotrain.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(before, loop.policy.parameters(), strict=True))


def test_a_class_that_defines_its_call_trains_the_method_where_a_script_calls_it() -> None:
    """act-plus-plus: `policy(qpos, image, actions, is_pad)["loss"]`."""
    ours, theirs = case("act-plus-plus"), case("act-plus-plus")
    kind, known = type(ours.policy), labels(ours)
    cotrain = joined("act-plus-plus", ours, Method(guidance=DomainGuidance(drop=0.0)), loss=None)
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]
    direct = joined("act-plus-plus", theirs, cotrain.method.fresh())

    def loss(run: Any) -> Tensor:
        torch.manual_seed(1)
        return run()

    expected = loss(lambda: direct(theirs.batch, domain=known).total)
    cotrain.install(domain=lambda batch: known)
    assert torch.equal(loss(lambda: ours.policy(*ours.batch)["loss"]), expected)
    direct.unwrap()
    bare = loss(lambda: theirs.policy(*theirs.batch)["loss"])
    assert isinstance(ours.policy, kind) and type(ours.policy).__name__ == kind.__name__ and not bare.equal(expected)
    for copied in (copy.deepcopy(ours.policy), pickle.loads(pickle.dumps(ours.policy))):
        assert type(copied) is kind and torch.equal(loss(lambda p=copied: p(*ours.batch)["loss"]), bare)
        assert list(copied.state_dict()) == list(theirs.policy.state_dict())
    cotrain.uninstall()
    assert type(ours.policy) is kind and torch.equal(loss(lambda: ours.policy(*ours.batch)["loss"]), bare)


class Elsewhere(Policy):
    """A script calls `objective`; `compute_loss` is there too."""

    def objective(self, b: dict[str, Tensor]) -> Tensor:
        return self.per_sample(b).mean()


def test_a_loss_that_an_installed_method_never_saw_is_told() -> None:
    p = Elsewhere()
    cotrain = CoTrain(p, Method(regularizer=0.1 * Gap()), seam=SEAM)
    cotrain.install(domain=lambda b: LABELS)
    said = "a method acts|an installed method acts in the loss entry compute_loss, got head called in training outside"
    with pytest.warns(UserWarning, match=said):
        p.objective(batch())
    p.objective(batch())  # once
    assert any("acts in the loss entry compute_loss" in each for each in cotrain.check(batch(), domain=LABELS).told)
    cotrain.uninstall()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p.objective(batch())


def test_what_is_not_training_is_not_told() -> None:
    p = Elsewhere()
    cotrain = CoTrain(p, Method(regularizer=0.1 * Gap()), seam=SEAM)
    cotrain.install(domain=lambda b: LABELS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        p.compute_loss(batch()).backward()
        p.sample(batch()["observation"])  # no gradient
        p.eval()
        p.objective(batch())
    assert told == []


def test_a_labelled_block_that_trains_around_the_entry_is_an_error_when_it_ends() -> None:
    p = Elsewhere()
    cotrain = CoTrain(p, Method(ratio=0.1), loss="compute_loss")
    cotrain.install()
    with pytest.raises(RuntimeError, match="got one in which compute_loss was not called"), cotrain.labelled(LABELS):
        p.objective(batch())
    with cotrain.labelled(LABELS):
        p.compute_loss(batch())


def test_a_module_around_the_seam_is_a_remedy_that_the_error_names() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head.forward(self.encoder(x)).square().mean()

    torch.manual_seed(0)
    x, known = torch.randn(6, 3), torch.arange(6) % 2 == 0
    with pytest.raises(RuntimeError, match=r"(?s)in which head was not called.*Seam\(head='net.forward'\)"):
        CoTrain(Around(), Method(), seam=Seam(feature="encoder", head="head"))(x, domain=known, weight=torch.ones(6))
    seam = Seam(feature="encoder", head="head.forward")
    CoTrain(Around(), Method(), seam=seam)(x, domain=known, weight=torch.ones(6)).total.backward()


@pytest.mark.parametrize("guides", [False, True])
def test_a_thread_that_samples_leaves_one_that_trains_alone(guides: bool) -> None:
    p, weight = policy(), torch.arange(6.0)
    cotrain = CoTrain(p, Method(guidance=DomainGuidance(4, drop=0.0)), seam=SEAM)
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]
    observation, ended = batch()["observation"], threading.Event()

    def steps() -> list[Tensor]:
        totals = []
        for seed in range(150):
            torch.manual_seed(seed)
            total = cotrain(batch(seed), domain=LABELS, weight=weight).total
            totals.append(torch.stack([total.detach(), *torch.autograd.grad(total, p.head.net[0].bias)[0]]))
        return totals

    def sampled() -> Tensor:
        with cotrain.guided(scale=3.0) if guides else nullcontext():
            return p.sample(observation)

    expected, action, actions = steps(), sampled(), []

    def roll_out() -> None:
        while not ended.is_set():
            actions.append(sampled())

    thread = threading.Thread(target=roll_out)
    thread.start()
    try:
        found = steps()
    finally:
        ended.set()
        thread.join()
    assert actions and all(torch.equal(a, action) for a in actions)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
