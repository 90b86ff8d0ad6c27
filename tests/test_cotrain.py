"""A method at one seam of a policy: what the policy computes, and what each part of it receives."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn import seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from toy import Policy, batch

from cotrain_losses import CoTrain, DomainGuidance, Method, Rows, Seam, Term
from cotrain_losses.guidance import guide

SEAM = Seam(head="head", condition="condition", time="time")
LABELS = torch.tensor([False, False, False, False, True, True])


class Critic(Term):
    """A linear head on the features and, if asked, on an extra."""

    def __init__(self, width: int, extra: str | None = None) -> None:
        super().__init__()
        self.head, self.extra = nn.Linear(width, 1).double(), extra

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return self._score(source).mean() - self._score(target).mean()

    def _score(self, rows: Rows) -> Tensor:
        return self.head(
            rows.features if self.extra is None else torch.cat([rows.features, rows.extras[self.extra]], 1)
        )


class Gap(Term):
    """|mean source - mean target|^2."""

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return (source.features.mean(0) - target.features.mean(0)).square().sum()


def policy(seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    return Policy()


def seeded(function: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    return function()


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {k: torch.zeros_like(p) if g is None else g for (k, p), g in zip(named.items(), found, strict=True)}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **tolerance)


@pytest.mark.parametrize(
    "method", [Method(ratio=0.1), Method(guidance=DomainGuidance(4)), Method(regularizer=0.0 * Gap())]
)
def test_wrapping_changes_neither_loss_nor_gradient_by_a_bit(method) -> None:
    bare, wrapped = policy(), policy()
    expected = seeded(lambda: bare.compute_loss(batch()))
    losses = seeded(lambda: CoTrain(wrapped, method, seam=SEAM)(batch(), domain=LABELS))
    assert torch.equal(losses.policy, expected) and torch.equal(losses.total, expected)
    assert_same(gradients(losses.total, wrapped), gradients(expected, bare), rtol=0, atol=0)


def test_the_policys_module_tree_and_state_dict_keys_do_not_change() -> None:
    bare, wrapped = policy(), policy()
    CoTrain(wrapped, Method(regularizer=Critic(4), guidance=DomainGuidance(4)), seam=SEAM)
    assert list(wrapped.state_dict()) == list(bare.state_dict())
    assert [n for n, _ in wrapped.named_modules()] == [n for n, _ in bare.named_modules()]


@given(seeds, st.floats(-2, 2).filter(lambda w: abs(w) > 1e-3))
@settings(max_examples=10)
def test_the_total_is_the_policys_loss_plus_the_regularizer_on_the_features_before_the_head(seed, weight):
    ours, theirs = policy(seed), policy(seed)
    losses = seeded(lambda: CoTrain(ours, Method(regularizer=weight * Gap()), seam=SEAM)(batch(seed), domain=LABELS))
    z = theirs.encoder(batch(seed)["observation"])
    expected = seeded(lambda: theirs.compute_loss(batch(seed))) + weight * Gap()(z[~LABELS], z[LABELS])
    torch.testing.assert_close(losses.total, expected, rtol=1e-12, atol=1e-12)
    assert_same(gradients(losses.total, ours), gradients(expected, theirs), rtol=1e-9, atol=1e-12)
    assert losses.counts == {"source": 4, "target": 2} and losses.strengths == {"gap": weight}


def test_terms_see_the_features_before_the_token() -> None:
    p, guidance = policy(), DomainGuidance(4, drop=0.0)
    nn.init.normal_(guidance.table)
    losses = CoTrain(p, Method(regularizer=Gap(), guidance=guidance), seam=SEAM)(batch(), domain=LABELS)
    z = p.encoder(batch()["observation"])
    torch.testing.assert_close(losses.raw["gap"], Gap()(z[~LABELS], z[LABELS]).detach())


def test_the_token_enters_the_heads_condition_and_learns() -> None:
    ours, theirs, guidance = policy(), policy(), DomainGuidance(4, drop=0.0)
    nn.init.normal_(guidance.table)
    losses = seeded(lambda: CoTrain(ours, Method(guidance=guidance), seam=SEAM)(batch(), domain=LABELS))
    theirs.encoder.register_forward_hook(lambda module, args, z: z + guidance.table.double()[LABELS.long()])
    torch.testing.assert_close(losses.total, seeded(lambda: theirs.compute_loss(batch())))
    assert gradients(losses.total, guidance)["table"].abs().sum() > 0


@given(seeds)
@settings(max_examples=10)
def test_sample_weights_equal_the_weighted_loss_and_leave_the_reported_one_alone(seed):
    ours, theirs = policy(seed), policy(seed)
    weight = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    losses = seeded(lambda: CoTrain(ours, Method(), seam=SEAM)(batch(seed), domain=LABELS, weight=weight))
    plain = seeded(lambda: theirs.per_sample(batch(seed)))
    assert torch.equal(losses.policy, plain.mean().detach())
    assert_same(gradients(losses.total, ours), gradients((weight * plain).mean(), theirs), rtol=1e-9, atol=1e-12)


def test_weights_given_and_the_methods_weights_multiply_and_know_the_samples() -> None:
    seen = []

    def hook(samples):
        seen.append(samples)
        return samples.time * samples.is_target

    ours, theirs, weight, index = policy(), policy(), torch.arange(6.0).double(), torch.arange(6) + 10
    cotrain = CoTrain(ours, Method(weights=hook), seam=SEAM)
    losses = seeded(lambda: cotrain(batch(), domain=LABELS, weight=weight, index=index, step=3))
    assert seen[0].step == 3 and torch.equal(seen[0].index, index) and seen[0].domain.tolist() == [0, 0, 0, 0, 1, 1]
    expected = (weight * seen[0].time * LABELS * seeded(lambda: theirs.per_sample(batch()))).mean()
    assert_same(gradients(losses.total, ours), gradients(expected, theirs), rtol=1e-9, atol=1e-12)


def test_a_loss_per_sample_is_weighed_once_with_or_without_a_seam_and_its_weighted_value_reported() -> None:
    weight = torch.arange(6.0).double()
    theirs = policy()
    plain = seeded(lambda: theirs.per_sample(batch()))
    for seam in (None, SEAM):
        ours = policy()
        cotrain = CoTrain(ours, Method(), seam=seam, loss="per_sample")
        losses = seeded(lambda c=cotrain: c(batch(), domain=LABELS, weight=weight))
        torch.testing.assert_close(losses.weighted, (weight * plain).mean().detach())
        torch.testing.assert_close(losses.policy, plain.mean().detach())
        assert_same(gradients(losses.total, ours), gradients((weight * plain).mean(), theirs), rtol=1e-9, atol=1e-12)


def test_regularizer_gradients_are_not_scaled_by_sample_weights() -> None:
    ours, theirs = policy(), policy()
    cotrain = CoTrain(ours, Method(regularizer=Gap()), seam=SEAM)
    losses = cotrain(batch(), domain=LABELS, weight=torch.zeros(6))
    z = theirs.encoder(batch()["observation"])
    assert_same(gradients(losses.total, ours), gradients(Gap()(z[~LABELS], z[LABELS]), theirs), rtol=1e-9, atol=1e-12)


def test_features_may_be_a_modules_output_folded_over_steps_and_cameras() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye, self.head = nn.Linear(3, 2).double(), nn.Linear(8, 2).double()

        def forward(self, observation: Tensor) -> Tensor:  # (b, 2 steps, 3), two cameras
            views = [self.eye(view.flatten(0, 1)).reshape(len(view), -1) for view in (observation, -observation)]
            return self.head(torch.cat(views, -1)).square().mean()

    p, observation = Folded(), torch.randn(6, 2, 3, dtype=torch.float64)
    cotrain = CoTrain(p, Method(regularizer=Critic(8)), seam=Seam(feature="eye", head="head"))
    check = cotrain.check(observation, domain=LABELS)
    assert check.features == (6, 8) and check.gradient and check.head_calls == 1
    z = torch.cat([p.eye(o.flatten(0, 1)).reshape(6, -1) for o in (observation, -observation)], -1)
    critic = cotrain.regularizer.terms["critic"]
    torch.testing.assert_close(
        cotrain(observation, domain=LABELS).raw["critic"], critic(z[~LABELS], z[LABELS]).detach()
    )


def test_extras_groups_and_valid_reach_the_terms() -> None:
    seen = []

    class Watcher(Critic):
        def compare(self, pair) -> Tensor:
            source, target = pair.source, pair.target
            seen.extend([source, target])
            return super().compare(pair)

    b = {**batch(), "task": torch.tensor([0, 0, 1, 1, 0, 1]), "valid": torch.ones(6, 3, dtype=torch.bool)}
    cotrain = CoTrain(
        policy(),
        Method(regularizer=0.1 * Watcher(6, extra="action")),
        seam=SEAM,
        extras=lambda b: {"action": b["action"]},
        groups=lambda b: b["task"],
        valid=lambda b: b["valid"],
    )
    cotrain(b, domain=LABELS)
    source, target = seen
    assert torch.equal(source.extras["action"], b["action"][:4]) and target.group.tolist() == [0, 1]
    assert target.valid.shape == (2, 3)


def test_three_domains_pooled_and_each_in_turn() -> None:
    labels, domains = ["sim_a", "sim_b", "real", "real", "sim_a", "sim_b"], ("real", "sim_a", "sim_b")
    p = policy()
    z = p.encoder(batch()["observation"])
    a, b, real = z[[0, 4]], z[[1, 5]], z[[2, 3]]
    pooled = CoTrain(p, Method(regularizer=2.0 * Gap()), seam=SEAM, domains=domains, target="real")
    losses = pooled(batch(), domain=labels)
    torch.testing.assert_close(losses.raw["gap"], Gap()(z[[0, 1, 4, 5]], real).detach())
    assert losses.counts == {"real": 2, "sim_a": 2, "sim_b": 2}
    each = CoTrain(p, Method(regularizer=2.0 * Gap()), seam=SEAM, domains=domains, target="real", sources="each")
    losses = each(batch(), domain=torch.tensor([1, 2, 0, 0, 1, 2]))
    torch.testing.assert_close(losses.raw["gap[sim_b]"], Gap()(b, real).detach())
    torch.testing.assert_close(losses.regularizer, (Gap()(a, real) + Gap()(b, real)).detach())


def test_three_domains_have_three_tokens_and_guide_towards_any() -> None:
    p, guidance = policy(), DomainGuidance(4, domains=3)
    nn.init.normal_(guidance.table)
    domains = ("real", "sim_a", "sim_b")
    cotrain = CoTrain(p, Method(guidance=guidance), seam=SEAM, domains=domains, target="real")
    observation = batch()["observation"]
    found = []
    for name in domains:
        with cotrain.guided(domain=name, scale=1.0):
            found.append(p.sample(observation))
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[1], found[2])
    with cotrain.guided(scale=1.0):
        assert torch.equal(p.sample(observation), found[0])


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 3.0])
def test_guided_sampling_combines_both_predictions_in_every_call_of_the_head(scale, copied) -> None:
    p, guidance = policy(), DomainGuidance(4)
    nn.init.normal_(guidance.table)
    cotrain = CoTrain(p, Method(guidance=guidance), seam=SEAM)
    by_hand = policy()
    head = by_hand.head.forward
    token = guidance.table[1].double()
    by_hand.head.forward = lambda x, t, condition: guide(head(x, t, condition + token), head(x, t, condition), scale)
    sampler = copy.deepcopy(p) if copied else p
    observation = batch()["observation"]
    with cotrain.guided(sampler if copied else None, scale=scale):
        torch.testing.assert_close(sampler.sample(observation), by_hand.sample(observation))
    assert torch.equal(sampler.sample(observation), policy().sample(observation))  # outside, the bare policy


def test_scale_one_and_zero_run_one_branch_and_others_both_in_one_call() -> None:
    p, rows = policy(), []
    p.head.net.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    cotrain = CoTrain(p, Method(guidance=DomainGuidance(4)), seam=SEAM)
    for scale, expected in ((0.0, [6] * 4), (1.0, [6] * 4), (0.5, [12] * 4)):
        rows.clear()
        with cotrain.guided(scale=scale):
            p.sample(batch()["observation"])
        assert rows == expected


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_guided_refuses_a_scale_that_is_not_finite(scale) -> None:
    cotrain = CoTrain(policy(), Method(guidance=DomainGuidance(4)), seam=SEAM)
    with pytest.raises(ValueError, match=rf"scale .* is a finite number, got {scale}\."), cotrain.guided(scale=scale):
        pass


def test_guided_without_guidance_is_the_bare_policy() -> None:
    p = policy()
    with CoTrain(p, Method(ratio=0.1)).guided():
        assert torch.equal(p.sample(batch()["observation"]), policy().sample(batch()["observation"]))


def test_one_hot_columns_reach_a_head_built_with_them_in_both_branches() -> None:
    torch.manual_seed(0)
    p = Policy(width=4)
    p.encoder = nn.Sequential(nn.Linear(3, 2)).double()  # two features and two columns make the head's four
    cotrain = CoTrain(p, Method(guidance=DomainGuidance(one_hot=True, drop=0.5)), seam=SEAM)
    cotrain(batch(), domain=LABELS).total.backward()
    with cotrain.guided(scale=0.5):
        assert p.sample(batch()["observation"]).shape == (6, 2)


@pytest.mark.parametrize("quiet", ["eval", "no_grad"])
def test_nothing_is_captured_dropped_or_regularized_outside_training(quiet) -> None:
    p, guidance = policy(), DomainGuidance(4, drop=1.0)
    nn.init.normal_(guidance.table)
    cotrain = CoTrain(p, Method(regularizer=Critic(4), guidance=guidance, weights=lambda s: s.time), seam=SEAM)
    if quiet == "eval":
        cotrain.eval()
    with torch.set_grad_enabled(quiet == "eval"):
        losses = seeded(lambda: cotrain(batch(), domain=LABELS))
    assert losses.raw == {} and losses.regularizer == 0.0
    theirs = policy()
    theirs.encoder.register_forward_hook(lambda module, args, z: z + guidance.table.double()[LABELS.long()])
    torch.testing.assert_close(losses.policy, seeded(lambda: theirs.compute_loss(batch())).detach())


def test_copies_and_pickles_of_the_policy_are_bare_and_of_the_whole_are_whole() -> None:
    guidance = DomainGuidance(4, drop=0.0)
    nn.init.normal_(guidance.table)
    p, never = policy(), policy()
    untouched = seeded(lambda: never.compute_loss(batch()))
    cotrain = CoTrain(p, Method(regularizer=-0.1 * Critic(4), guidance=guidance), seam=SEAM)
    expected = seeded(lambda: cotrain(batch(), domain=LABELS))  # a step has run: nothing of its graph may be held
    for bare in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert torch.equal(seeded(lambda b=bare: b.compute_loss(batch())), untouched)
    for whole in (copy.deepcopy(cotrain), pickle.loads(pickle.dumps(cotrain))):
        assert torch.equal(seeded(lambda w=whole: w(batch(), domain=LABELS)).total, expected.total)
        whole.policy.head.net[0].weight.data.zero_()
    assert torch.equal(seeded(lambda: cotrain(batch(), domain=LABELS)).total, expected.total)


def test_a_run_resumes_from_state_dicts_to_equal_losses() -> None:
    def run(cotrain, optimizer, steps):
        found = []
        for step in steps:
            torch.manual_seed(step)
            losses = cotrain(batch(step), domain=LABELS, step=step)
            optimizer.zero_grad()
            losses.total.backward()
            optimizer.step()
            found.append(losses.total.item())
        return found

    def fresh():
        torch.manual_seed(1)
        cotrain = CoTrain(policy(), Method(regularizer=-0.1 * Critic(4), guidance=DomainGuidance(4)), seam=SEAM)
        return cotrain, torch.optim.Adam(cotrain.parameters(), 0.01)

    whole = run(*fresh(), range(6))
    first, optimizer = fresh()
    run(first, optimizer, range(3))
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
    second, optimizer = fresh()
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    assert run(second, optimizer, range(3, 6)) == whole[3:]


def test_plugin_parameters_are_the_methods_own() -> None:
    critic, guidance = Critic(4), DomainGuidance(4)
    cotrain = CoTrain(policy(), Method(regularizer=critic, guidance=guidance), seam=SEAM)
    assert list(cotrain.plugin_parameters()) == [*critic.parameters(), *guidance.parameters()]


def test_a_method_serves_one_policy_and_a_fresh_copy_another() -> None:
    method, p = Method(regularizer=-0.1 * Critic(4)), policy()
    first = CoTrain(p, method, seam=SEAM)
    with pytest.raises(RuntimeError, match=r"belong to one policy, got a Regularizer.*method\.fresh\(\)"):
        CoTrain(policy(), method, seam=SEAM)
    CoTrain(policy(), method.fresh(), seam=SEAM)
    assert first.unwrap() is p and not p.head._forward_hooks and not p.head._forward_pre_hooks
    CoTrain(policy(), method, seam=SEAM)


@pytest.mark.parametrize(
    "returned",
    [
        lambda x: x,
        lambda x: (x, {"a": 1}),
        lambda x: {"loss": x},
        lambda x: (x, None),
        lambda x: type("Out", (), {"loss": x})(),
    ],
)
def test_every_usual_form_of_loss_entry_is_read(returned) -> None:
    p = policy()
    cotrain = CoTrain(p, Method(), loss=lambda policy, b: returned(policy.compute_loss(b)))
    assert torch.equal(seeded(lambda: cotrain(batch(), domain=LABELS)).total, seeded(lambda: p.compute_loss(batch())))


def test_a_frozen_encoder_refuses_terms_that_ask_and_keeps_everything_else() -> None:
    p = policy()
    p.encoder.requires_grad_(False)
    cotrain = CoTrain(p, Method(regularizer=0.1 * Gap()), seam=SEAM)
    with pytest.raises(ValueError, match=r"(?s)gap asks.*head\(condition\).*without one.*after them is head\.net\.0\."):
        cotrain(batch(), domain=LABELS)
    quiet = Method(regularizer=0.0 * Critic(4), guidance=DomainGuidance(4), weights=lambda s: s.time)
    CoTrain(p, quiet, seam=SEAM)(batch(), domain=LABELS).total.backward()
    assert p.head.net[0].weight.grad is not None


def test_a_module_that_never_runs_is_an_error_that_names_it() -> None:
    class Around(Policy):
        def compute_loss(self, b: dict[str, Tensor]) -> Tensor:
            z = self.encoder(b["observation"])
            return self.head.forward(b["action"], b["action"][:, 0], z).mean()  # not a call: hooks stay silent

    for method in (Method(guidance=DomainGuidance(4)), Method(regularizer=Gap())):
        with pytest.raises(RuntimeError, match="in which head was not called"):
            CoTrain(Around(), method, seam=SEAM)(batch(), domain=LABELS)
    CoTrain(Around(), Method(ratio=0.5), seam=SEAM)(batch(), domain=LABELS)  # nothing is asked of the seam


def test_check_says_what_happens_at_the_seam_and_leaves_no_trace() -> None:
    p, guidance = policy(), DomainGuidance(4)
    cotrain = CoTrain(p, Method(regularizer=0.1 * Gap(), guidance=guidance), seam=SEAM)
    cotrain.eval()
    before, draws = torch.random.get_rng_state(), guidance.get_extra_state()
    check = cotrain.check(batch(), domain=LABELS)
    assert check.features == (6, 4) and check.gradient and check.head_calls == 1 and check.weights_reach_all
    assert "features (samples, width): (6, 4)" in str(check) and "'source': 4" in str(check)
    assert torch.equal(before, torch.random.get_rng_state()) and torch.equal(draws, guidance.get_extra_state())
    assert not p.training and all(x.grad is None for x in cotrain.parameters())


class CodebookFirst(Policy):
    """Learns something else for two calls: counted in a number, ended by a buffer that is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.codes, self.calls = nn.Linear(2, 2).double(), 0
        self.register_buffer("learned", torch.tensor(False))

    def compute_loss(self, b: dict[str, Tensor]) -> Tensor:
        if self.learned:
            return super().compute_loss(b)
        self.calls += 1
        if self.calls >= 2:
            self.learned = torch.tensor(True)
        return (self.codes(b["action"]) - b["action"]).square().mean()


class CodebookSeam(Seam):
    """Not reached until the codebook is learned."""

    def dormant(self, policy: Any) -> bool:
        return not bool(policy.learned)


def test_check_in_a_phase_that_does_not_reach_the_seam_neither_counts_nor_ends_it() -> None:
    p = CodebookFirst()
    cotrain = CoTrain(p, Method(regularizer=0.1 * Gap()), seam=CodebookSeam(head="head", condition="condition"))
    for _ in range(3):
        check = cotrain.check(batch(), domain=LABELS)
        assert check.features is None and check.weights_reach_all is None and not check.losses.raw
        assert p.calls == 0 and not p.learned and "learned" in dict(p.named_buffers())
    raws = [cotrain(batch(), domain=LABELS).raw for _ in range(3)]
    assert [bool(raw) for raw in raws] == [False, False, True]
    assert cotrain.check(batch(), domain=LABELS).weights_reach_all and p.calls == 2


def test_check_refuses_a_loss_that_passes_the_seam_by() -> None:
    class Leaky(Policy):
        def compute_loss(self, b: dict[str, Tensor]) -> Tensor:
            return super().compute_loss(b) + 0.1 * self.encoder(b["observation"]).square().mean()

    with pytest.raises(ValueError, match=r"whole policy loss, got a gradient.*encoder\.0\.weight.*does not pass head"):
        CoTrain(Leaky(), Method(), seam=SEAM).check(batch(), domain=LABELS)


@pytest.mark.parametrize(
    ("domain", "error", "said"),
    [
        (torch.ones(3, dtype=torch.bool), ValueError, r"one label per sample, got shape \(3,\) for a batch.*6 rows"),
        (torch.ones(6, 1, dtype=torch.bool), ValueError, r"one label per sample, got shape \(6, 1\)"),
        (torch.ones(6), TypeError, r"bool.*got float32.*domain > 0\.5"),
        (torch.full((6,), 2), ValueError, r"positions among the domains source, target, got values from 2 to 2"),
        (["real"] * 6, ValueError, "domain is one of source, target, got 'real'"),
        ("target", TypeError, "labels the samples.*got str"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_wrong_labels_are_refused(domain, error, said) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        CoTrain(policy(), Method())(batch(), domain=domain)


@pytest.mark.parametrize("domain", [[0, 0, 0, 0, 1, 1], LABELS.numpy(), ["source"] * 4 + ["target"] * 2, LABELS.long()])
def test_labels_may_be_masks_integers_or_names(domain) -> None:
    assert CoTrain(policy(), Method())(batch(), domain=domain).counts == {"source": 4, "target": 2}


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (lambda p: CoTrain(p, Method(regularizer=Gap())), ValueError, "acts at a seam, got none for a Policy"),
        (
            lambda p: CoTrain(p, Method(), seam=Seam(head="trunk", condition="c")),
            ValueError,
            "Policy has no 'trunk'.*encoder, head",
        ),
        (
            lambda p: CoTrain(p, Method(), seam=Seam(head="head", condition="global_cond")),
            ValueError,
            "takes noisy, time, condition",
        ),
        (lambda p: CoTrain(p, Method(), seam=Seam(head="sample", condition=0)), TypeError, "is a method"),
        (lambda p: Seam(head="head"), ValueError, "says where the features are"),
        (lambda p: CoTrain(p, Method(guidance=DomainGuidance()), seam=SEAM), ValueError, "does not know"),
        (
            lambda p: CoTrain(p, Method(guidance=DomainGuidance(4)), seam=Seam(feature="encoder")),
            ValueError,
            "without head",
        ),
        (
            lambda p: CoTrain(
                p, Method(guidance=DomainGuidance(4)), seam=Seam(head="head", condition="condition", sampler=False)
            ),
            ValueError,
            "regression",
        ),
        (
            lambda p: CoTrain(p, Method(guidance=DomainGuidance(4, domains=3)), seam=SEAM),
            ValueError,
            "3 tokens for the 2 domains",
        ),
        (lambda p: CoTrain(p, Method(), domains=("real", "sim")), ValueError, r"target is one of.*got None"),
        (lambda p: CoTrain(p, Method(), domains=("one",)), ValueError, "two or more domains"),
        (lambda p: CoTrain(p, Method(), sources="some"), ValueError, "'pooled' or 'each'"),
    ],
)
def test_a_seam_that_cannot_be_is_refused_when_it_is_attached(build, error, said) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        build(policy())


def test_the_width_of_the_token_is_read_from_the_seam_when_it_is_known() -> None:
    p = policy()
    p.config = type("Config", (), {"width": 4})()
    guidance = DomainGuidance()
    CoTrain(p, Method(guidance=guidance), seam=Seam(head="head", condition="condition", width="config.width"))
    assert guidance.table.shape == (2, 4)


@pytest.mark.parametrize(
    ("weight", "said"),
    [(torch.ones(5), r"shape \(6,\), got \(5,\)"), (torch.full((6,), float("nan")), "NaN"), ([1.0] * 6, "got list")],
)
def test_wrong_weights_are_refused(weight, said) -> None:
    with pytest.raises(ValueError, match=said):
        CoTrain(policy(), Method(), seam=SEAM)(batch(), domain=LABELS, weight=weight)


def test_weights_that_can_reach_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="one scalar and no seam with a head"):
        CoTrain(policy(), Method())(batch(), domain=LABELS, weight=torch.ones(6))


@pytest.mark.parametrize(
    ("loss", "error"), [(lambda p, b: None, TypeError), (lambda p, b: p.per_sample(b)[:2], ValueError)]
)
def test_a_loss_entry_of_another_kind_is_refused(loss, error) -> None:
    with pytest.raises(error, match="a loss entry returns"):
        CoTrain(policy(), Method(), loss=loss)(batch(), domain=LABELS)


def test_a_one_sided_batch_is_a_zero_that_is_counted() -> None:
    cotrain = CoTrain(policy(), Method(regularizer=-0.1 * Critic(4)), seam=SEAM)
    losses = cotrain(batch(), domain=torch.zeros(6, dtype=torch.bool))
    assert losses.skipped == ("critic",) and losses.regularizer == 0.0 and losses.counts["target"] == 0
    losses.total.backward()
    assert all(p.grad is not None and not p.grad.any() for p in cotrain.plugin_parameters())
