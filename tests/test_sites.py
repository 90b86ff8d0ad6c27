"""Policies whose rows, calls or conditions need a site: sample weights, terms and guidance on each."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method, Seam
from cotrain_losses.policy import collect_features
from cotrain_losses.policy.sites import Site
from tests.adapted import sampled
from tests.fakes import Case, maniflow
from tests.sited import COGACT, KINDS, MODE, case, guided_kinds, joined, kinds


def labels(c: Case) -> Tensor:
    return torch.arange(c.samples) % 2 == 0


def vector(policy: nn.Module) -> Tensor:
    """Every gradient, one after another."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in policy.parameters()])


def error(ours: nn.Module, truth: nn.Module) -> float:
    return float((vector(ours) - vector(truth)).norm() / vector(truth).norm())


@kinds
def test_sample_weights_are_the_truly_weighted_loss(name: str) -> None:
    ours, truth = case(name), case(name)
    weight = torch.rand(ours.samples, generator=torch.Generator().manual_seed(1)) * 2
    torch.manual_seed(1)
    joined(name, ours, Method())(ours.batch, domain=labels(ours), weight=weight).total.backward()
    torch.manual_seed(1)
    (weight * truth.per_sample(truth.policy)).mean().backward()
    assert error(ours.policy, truth.policy) < 1e-5


@pytest.mark.parametrize("name", ["cogact", "starvla-8", "starvla-4"])
def test_rows_told_wrong_weigh_wrong(name: str) -> None:
    ours, truth = case(name), case(name)
    weight = torch.tensor([0.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    torch.manual_seed(1)
    side = replace(KINDS[name].seam, rows="side by side")
    joined(name, ours, Method(), seam=side)(ours.batch, domain=labels(ours), weight=weight).total.backward()
    torch.manual_seed(1)
    (weight * truth.per_sample(truth.policy)).mean().backward()
    assert error(ours.policy, truth.policy) > 0.1


@pytest.mark.parametrize("name", ["cogact", "starvla-8", "maniflow", "mode", "act-plus-plus"])
def test_weights_that_depend_on_time_use_each_rows_own(name: str) -> None:
    """A weight of time alone on every row equals the loss whose rows are weighed by hand in the head."""
    ours, truth, seen = case(name), case(name), []
    by_time = lambda time: torch.cos(time.float()).square()
    weights = lambda samples: seen.append(samples) or by_time(samples.time)
    torch.manual_seed(1)
    joined(name, ours, Method(weights=weights))(ours.batch, domain=labels(ours)).total.backward()
    seam = KINDS[name].seam
    head, place = str(seam.head).removesuffix(".forward"), {"t": 1, "sigma": 3, "timestep": 1}[str(seam.time)]
    times: list[Tensor] = []

    def read(module: nn.Module, args: Any, kwargs: Any) -> None:
        times.append(kwargs[seam.time] if seam.time in kwargs else args[place])

    def weigh(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        row = by_time(times[-1])[:, None, None]
        return row * output + (output - row * output).detach()

    truth.policy.get_submodule(head).register_forward_pre_hook(read, with_kwargs=True)
    truth.policy.get_submodule(str(seam.prediction or head)).register_forward_hook(weigh)
    torch.manual_seed(1)
    truth.per_sample(truth.policy).mean().backward()
    assert error(ours.policy, truth.policy) < 1e-5
    assert all(len(s.domain) == len(s.is_target) == len(s.time) for s in seen)


@kinds
def test_features_are_one_row_a_sample_in_the_order_of_the_batch(name: str) -> None:
    c, known = case(name), labels(case(name))
    run = KINDS[name].loss if callable(KINDS[name].loss) else None
    run = (lambda p, b: p.training_step(b)) if name == "mode" else run
    average = copy.deepcopy(c.policy)
    run = (lambda p, b: p.compute_loss(b, average)) if name == "maniflow" else run
    rows = lambda batch: collect_features(c.policy, [batch], seams=[KINDS[name].seam], domain=lambda b: known, run=run)
    layers = [next(iter(side.layers.values())) for side in (rows(c.batch).source, rows(c.batch).target)]
    assert len(layers[0]) + len(layers[1]) == c.samples and layers[0].ndim == 2
    one = {"cogact": "vlm", "mode": "static_resnet", "maniflow": "obs_encoder"}.get(name)
    if one is not None:
        batch = c.batch["pixels" if name == "cogact" else "rgb" if name == "mode" else "obs"]
        z = c.policy.get_submodule(one)(batch)
        expected = z if z.ndim == 2 else z.mean(1)
        torch.testing.assert_close(layers[0], expected[~known].detach())
        torch.testing.assert_close(layers[1], expected[known].detach())


def told(name: str, c: Case, method: Method, **more: Any) -> tuple[CoTrain, list[Tensor]]:
    """The loss of each sample under a method, as the policy's own code computes it."""
    each: list[Tensor] = []
    loss = lambda policy, batch: each.append(c.per_sample(policy)) or each[-1]
    return joined(name, c, method, loss=loss, **more), each


@guided_kinds
def test_the_token_reaches_the_rows_of_its_domain_and_no_others(name: str) -> None:
    ours, bare = case(name), case(name)
    cotrain, each = told(name, ours, Method(guidance=DomainGuidance(drop=0.0)))
    with torch.no_grad():
        cotrain.guidance.table[1] = 1.0  # type: ignore[index,union-attr]
    known = labels(ours)
    torch.manual_seed(1)
    cotrain(ours.batch, domain=known)
    torch.manual_seed(1)
    untouched = bare.per_sample(bare.policy)
    torch.testing.assert_close(each[0][~known], untouched[~known])
    assert not torch.isclose(each[0][known], untouched[known]).any()


@guided_kinds
def test_guidance_at_scale_0_is_the_bare_policy_to_the_bit_and_others_act(name: str) -> None:
    c = case(name)
    cotrain, keys = joined(name, c, Method(guidance=DomainGuidance())), list(case(name).policy.state_dict())
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]

    def predicted(policy: nn.Module, scale: float | None) -> Tensor:
        torch.manual_seed(2)
        if scale is None:
            return c.sample(policy)  # type: ignore[misc]
        with cotrain.guided(policy, scale=scale):
            return c.sample(policy)  # type: ignore[misc]

    ema = copy.deepcopy(c.policy)
    bare = predicted(c.policy, None)
    for policy in (c.policy, ema):
        assert torch.equal(predicted(policy, 0.0), bare)
        conditional, half, three = (predicted(policy, scale) for scale in (1.0, 0.5, 3.0))
        assert not torch.allclose(conditional, bare) and not torch.allclose(three, conditional)
        assert not torch.allclose(half, conditional)
        assert torch.equal(predicted(policy, None), bare)
        assert list(policy.state_dict()) == keys


def test_a_copy_of_the_whole_acts_at_methods_and_a_copy_of_the_policy_does_not() -> None:
    c = case("cogact")
    cotrain = joined("cogact", c, Method(guidance=DomainGuidance(drop=0.0)))
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]
    known, whole = labels(c), copy.deepcopy(cotrain)

    def loss(of: CoTrain) -> Tensor:
        torch.manual_seed(3)
        return of(c.batch, domain=known).total

    assert torch.equal(loss(cotrain), loss(whole))
    bare = case("cogact").policy
    torch.manual_seed(3)
    expected = bare(c.batch)[0]
    for policy in (copy.deepcopy(c.policy), cotrain.unwrap()):
        torch.manual_seed(3)
        assert torch.equal(policy(c.batch)[0], expected)
    assert not torch.equal(loss(whole), expected)


def test_a_policy_copied_while_a_step_or_a_guided_block_runs_is_refused() -> None:
    c = case("mode")
    cotrain = joined("mode", c, Method(guidance=DomainGuidance()))
    with pytest.raises(RuntimeError, match="copied between steps"), cotrain.guided():
        copy.deepcopy(c.policy)
    copy.deepcopy(c.policy)


def test_a_condition_in_an_object_or_a_tuple_is_read_and_given_back_unchanged() -> None:
    class Holder:
        def __init__(self, tokens: tuple[Tensor, ...]) -> None:
            self.tokens = tokens

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(3, 2)

        def forward(self, holder: Holder) -> dict[str, Tensor]:
            return {"actions": self.out(holder.tokens[1]), "logits": holder.tokens[0]}

    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(3, 3), Head()

        def forward(self, x: Tensor) -> Tensor:
            self.holder = Holder((x, self.encoder(x)))
            return self.head(self.holder)["actions"].square().mean()

    torch.manual_seed(0)
    policy, x, known = Held(), torch.randn(6, 3), torch.arange(6) % 2 == 0
    seam = Seam(head=Site("head", argument="holder.tokens.1", output="actions"), width=3)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(drop=0.0), regularizer=0.0 * MMD()), seam=seam)
    with torch.no_grad():
        cotrain.guidance.table[1] = 1.0  # type: ignore[index,union-attr]
    z = policy.encoder(x)
    losses = cotrain(x, domain=known)
    torch.testing.assert_close(losses.policy, policy.head.out(z + known[:, None]).square().mean().detach())
    assert torch.equal(policy.holder.tokens[1], z)  # what the caller holds is as it was
    with pytest.raises(TypeError, match=r"'holder.missing' of head as a tensor, got NoneType.*it holds tokens"):
        CoTrain(policy, Method(regularizer=MMD()), seam=Seam(head="head", condition="holder.missing"))(x, domain=known)


def test_rows_may_be_told_by_a_function_of_the_labels() -> None:
    """A head for each domain in one batch: each call has the rows of its own."""

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.real, self.sim = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def each(self, batch: Any) -> Tensor:
            z, out = self.encoder(batch["x"]), torch.zeros(6, 2)
            out[known], out[~known] = self.real(z[known]), self.sim(z[~known])
            return out.square().mean(1)

        def forward(self, batch: Any) -> Tensor:
            return self.each(batch).mean()

    known, weight = torch.tensor([True, False, False, True, False, True]), torch.arange(6.0)
    own = lambda target: lambda n, domain: (domain == target).nonzero().squeeze(1)
    seam = Seam(head=(Site("real", "input", rows=own(1)), Site("sim", "input", rows=own(0))), sampler=False)
    torch.manual_seed(0)
    ours = Split()
    truth, batch = copy.deepcopy(ours), {"x": torch.randn(6, 3)}
    cotrain = CoTrain(ours, Method(regularizer=0.0 * MMD()), seam=seam)
    cotrain(batch, domain=known, weight=weight).total.backward()
    (weight * truth.each(batch)).mean().backward()
    assert error(ours, truth) < 1e-6
    collected = collect_features(ours, [batch], seams=[seam], domain=lambda b: known)
    torch.testing.assert_close(next(iter(collected.target.layers.values())), truth.encoder(batch["x"])[known].detach())


@pytest.mark.parametrize(
    ("seam", "said"),
    [
        (Seam(head="action_model.nett", condition="z"), r"has no 'nett'\. Nearest there: net\."),
        (Seam(head="net", condition="z"), r"has no 'net'\. Nearest there: action_model\.net\."),
        (Seam(head="action_model.net.forwards", condition="z"), "Nearest there: forward"),
        (Seam(head="action_model.net", condition="zz"), "got 'zz', but action_model.net"),
    ],
)
def test_a_site_that_does_not_exist_names_the_nearest(seam: Seam, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CoTrain(case("cogact").policy, Method(), seam=seam)


def test_a_site_that_returns_no_tensor_says_so() -> None:
    c = case("mode")
    seam = replace(MODE, feature=Site("compute_input_embeddings", output="0.missing"))
    with pytest.raises(TypeError, match=r"got 0 from compute_input_embeddings -> 0\.missing \(tuple\)"):
        joined("mode", c, Method(regularizer=MMD()), seam=seam)(c.batch, domain=labels(c))


def test_features_may_be_a_methods_output_at_a_path() -> None:
    c = case("mode")
    seam = replace(MODE, feature=Site("compute_input_embeddings", output="0.state_images"))
    losses = joined("mode", c, Method(regularizer=0.1 * MMD()), seam=seam)(c.batch, domain=labels(c))
    again = case("mode")
    expected = joined("mode", again, Method(regularizer=0.1 * MMD()))(again.batch, domain=labels(c))
    assert torch.equal(losses.raw["mmd"], expected.raw["mmd"])


def test_rows_that_belong_to_nobody_say_so() -> None:
    c = case("maniflow")
    seam = replace(KINDS["maniflow"].seam, rows="side by side")
    with pytest.raises(ValueError, match=r"every row belongs to a sample.*got 6 rows at model.* for 8 domain labels"):
        joined("maniflow", c, Method(), seam=seam)(c.batch, domain=labels(c), weight=torch.ones(8))
    with pytest.raises(ValueError, match=r"rows is 'side by side', .* or a function, got 'tiled'"):
        Seam(head="model", condition="vis_cond", rows="tiled")
    for rule, said in (
        (lambda n, domain: torch.arange(n) + 4, r"from 0 to 7, got int64 \(6,\) from 4 to 9 at model"),
        (lambda n, domain: torch.arange(n - 1), r"shape \(6,\) .* got int64 \(5,\) from 0 to 4"),
        (lambda n, domain: torch.rand(n), r"got float32 \(6,\) at model"),
        (lambda n, domain: domain[:n] > 0, r"got bool \(6,\) at model"),
    ):
        wrong = replace(KINDS["maniflow"].seam, rows=rule)
        with pytest.raises(ValueError, match=said):
            joined("maniflow", c, Method(), seam=wrong)(c.batch, domain=labels(c), weight=torch.ones(8))


def test_an_average_that_predicts_between_the_parts_does_not_take_their_turn() -> None:
    """ManiFlow's consistency loss asks its average for a prediction before the second part's own."""
    ours, truth = case("maniflow"), case("maniflow")
    weight, average = torch.arange(8.0), maniflow.averaged(truth.policy)
    torch.manual_seed(1)
    loss = lambda policy, batch: policy.compute_loss(batch, ema_model=average)
    joined("maniflow", ours, Method(), loss=loss)(ours.batch, domain=labels(ours), weight=weight).total.backward()
    torch.manual_seed(1)
    flow, consistency = truth.policy.parts(truth.batch, average)
    ((weight[:6] * flow).mean() + (weight[6:] * consistency).mean()).backward()
    assert error(ours.policy, truth.policy) < 1e-5


def test_guidance_that_a_sampler_goes_around_is_an_error_when_the_block_ends() -> None:
    """CogACT hands `net.forward` to its sampling loop: as a module the head is never called there."""
    c = case("cogact")
    cotrain = joined("cogact", c, Method(guidance=DomainGuidance()), seam=replace(COGACT, head="action_model.net"))
    said = r"(?s)got a guided block in which action_model\.net was not called.*'net.forward'"
    with pytest.raises(RuntimeError, match=said), cotrain.guided(scale=3.0):
        c.sample(c.policy)  # type: ignore[misc]
    with pytest.raises(ValueError, match="the block's own"), cotrain.guided():
        raise ValueError("the block's own")


def test_guiding_one_policy_while_another_samples_is_an_error() -> None:
    c = case("mode")
    cotrain, ema = joined("mode", c, Method(guidance=DomainGuidance())), copy.deepcopy(c.policy)
    with (
        pytest.raises(RuntimeError, match=r"a guided block in which model\.inner_model was not called"),
        cotrain.guided(),
    ):
        c.sample(ema)  # type: ignore[misc]
    for acted in (True, False):  # an action chunk once sampled is played back without the policy
        with cotrain.guided():
            if acted:
                c.sample(c.policy)  # type: ignore[misc]


def test_a_token_inside_the_head_needs_no_condition_and_one_outside_is_an_error() -> None:
    c = case("mode")
    inside = Seam(head="model.inner_model", feature="static_resnet", token="model.inner_model.tok_emb", width=8)
    cotrain = joined("mode", c, Method(guidance=DomainGuidance()), seam=inside)
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]

    assert not torch.allclose(sampled(cotrain, c, 3.0), sampled(cotrain, c, 1.0))
    cotrain.unwrap()
    outside = Seam(head="model.inner_model", feature="static_resnet", token="static_resnet", width=4)
    cotrain = joined("mode", c, Method(guidance=DomainGuidance()), seam=outside)
    said = r"a scale of 3 changed nothing: static_resnet adds the token outside"
    with pytest.raises(RuntimeError, match=said), cotrain.guided(scale=3.0):
        c.sample(c.policy)  # type: ignore[misc]


@pytest.mark.parametrize("together", [True, False])
def test_steps_made_before_a_backward_pass_are_each_recomputed_as_their_own(together: bool) -> None:
    """Activation checkpointing runs the head again in the backward pass, with the token and weights of its step."""
    c, known, weight = case("mode"), torch.arange(6) < 3, torch.arange(6.0)
    cotrain = joined("mode", c, Method(guidance=DomainGuidance(drop=0.0)))
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]

    def steps() -> list[Tensor]:
        torch.manual_seed(4)
        first = cotrain(c.batch, domain=known, weight=weight).total
        return [first, cotrain(c.batch, domain=~known, weight=5 - weight).total]

    def gradient(backward: Any) -> Tensor:
        cotrain.zero_grad()
        backward(steps())
        return vector(cotrain)

    expected = gradient(lambda totals: sum(totals).backward())
    head = c.policy.model.inner_model
    cotrain.unwrap()
    c.policy.model.inner_model = Checkpointed(head)
    cotrain = joined("mode", c, cotrain.method, seam=replace(MODE, head="model.inner_model.head"))
    each = lambda totals: [total.backward() for total in totals]
    found = gradient((lambda totals: sum(totals).backward()) if together else each)
    torch.testing.assert_close(found, expected)


class Checkpointed(nn.Module):
    """A head under non-reentrant activation checkpointing."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, *args: Any) -> Tensor:
        return torch.utils.checkpoint.checkpoint(self.head, *args, use_reentrant=False)
