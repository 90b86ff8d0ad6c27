"""A compiled policy under a method: one graph where torch follows it, the eager step's numbers everywhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import config, graph_break
from torch._dynamo.utils import counters

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method
from cotrain_losses.importance import RatioWeights, TimeWindow
from cotrain_losses.policy.override import FOLLOWED
from cotrain_losses.strength import relative
from tests.compiled import Called, Deep, assert_steps_of_eager, stepped, wrapped
from tests.lives import full_method, gradients
from tests.sited import case, joined
from tests.toy import Policy, batch
from tests.training import HALF, SEAM, noiseless

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the compiler's doings while it traces
    pytest.mark.skipif(not FOLLOWED, reason="torch 2.11 is the first that is let follow what acts at a seam"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def breaks() -> int:
    return sum(counters["graph_break"].values())


def timed_method() -> Method:
    window = TimeWindow({"source": (0.2, 0.4)})
    return Method(regularizer=0.1 * MMD(), weights=lambda samples: window(samples) * (1.0 + samples.step))


def in_graphs(policy: nn.Module) -> None:
    policy.compile(backend="aot_eager")


def whole(policy: nn.Module) -> None:
    policy.compile(backend="aot_eager", fullgraph=True)


def every_method() -> Method:
    return replace(full_method(), weights=heavier)


def heavier(samples: Any) -> Tensor:
    weights: Tensor = 1.0 + samples.is_target.double()
    return weights


heavier.reads_time = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", [every_method, Method])
def test_a_step_is_one_graph_that_later_steps_use_again(method: Callable[[], Method]) -> None:
    assert_steps_of_eager(Called, method, whole)
    assert graphs() == 1


@pytest.mark.parametrize("name", ["cogact", "maniflow", "mode", "hpt-real"])
def test_rows_paths_and_feature_modules_are_followed(name: str) -> None:
    found = []
    for compiled in (False, True):
        c = case(name)
        terms = None if name == "maniflow" else 0.1 * MMD()  # each of its calls has a part of the batch
        guidance = None if name == "hpt-real" else DomainGuidance(drop=0.5)
        method = Method(regularizer=terms, weights=RatioWeights(0.3, 0.5), guidance=guidance)
        cotrain = joined(name, c, method)
        if guidance is not None:
            nn.init.constant_(guidance.table, 0.3)  # type: ignore[arg-type]
        if compiled:
            entry = {"cogact": "forward", "mode": "training_step"}.get(name, "compute_loss")
            setattr(c.policy, entry, torch.compile(getattr(c.policy, entry), backend="eager", fullgraph=True))
        torch.manual_seed(1)
        total = cotrain(c.batch, domain=torch.arange(c.samples) % 2 == 0).total
        total.backward()
        found.append([total.detach(), *gradients(cotrain)])
    torch.testing.assert_close(*found)
    assert graphs() == 1


def listening_method() -> Method:
    return Method(regularizer=relative(0.3) * MMD(), guidance=DomainGuidance())


@pytest.mark.parametrize("method", [listening_method, timed_method])
def test_strengths_that_listen_and_weights_of_the_time_are_outside_of_the_graph(method: Callable[[], Method]) -> None:
    assert_steps_of_eager(Called, method, lambda policy: policy.compile(backend="eager"), steps=10)
    assert breaks() > 0 and graphs() < 8  # not a graph for each step


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("part", ["encoder", "head"])
def test_parts_compiled_inside_of_checkpoints_that_python_repeats(part: str, reentrant: bool) -> None:
    assert_steps_of_eager(
        lambda: Called(part, reentrant),
        every_method,
        lambda policy: [each.compile(backend="aot_eager") for each in (policy.encoder, policy.head)],
    )


def test_a_seam_deep_inside_of_what_is_compiled_and_repeated_by_python() -> None:
    assert_steps_of_eager(Deep, every_method, lambda policy: policy.body.compile(backend="aot_eager_decomp_partition"))


@pytest.mark.parametrize("part", ["encoder", "head"])
def test_a_checkpoint_in_the_graph_is_one_with_it_where_torch_is_told_to_repeat_no_side_effect(part: str) -> None:
    assert_steps_of_eager(lambda: Called(part), every_method, in_graphs)
    with config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=True):
        assert_steps_of_eager(lambda: Called(part), every_method, whole)


def test_sampling_between_steps_is_one_graph_and_guided_where_it_is_asked() -> None:
    policy, observation = Policy(), batch()["observation"]
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(4)), seam=SEAM)
    nn.init.constant_(cotrain.guidance.table, 0.5)  # type: ignore[arg-type,union-attr]
    bare = policy.sample(observation)
    with cotrain.guided(scale=3.0):
        guided = policy.sample(observation)
    compiled = torch.compile(policy.sample, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(observation), bare)
    with cotrain.guided(scale=3.0):
        torch.testing.assert_close(compiled(observation), guided)
    cotrain(batch(), domain=HALF).total.backward()
    torch.testing.assert_close(compiled(observation), bare)
    assert not torch.allclose(guided, bare)


def test_what_a_sampler_calls_many_times_is_compiled_a_few_times() -> None:
    policy, (noisy, time, z) = Policy(), torch.randn(3, 6, 4, dtype=torch.float64)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(4)), seam=SEAM)
    nn.init.constant_(cotrain.guidance.table, 0.5)  # type: ignore[arg-type,union-attr]

    def predicted() -> Tensor:
        made: Tensor = policy.head(noisy[:, :2], time[:, 0], condition=z)
        return made

    with cotrain.guided(scale=3.0), torch.no_grad():
        expected, compiled = predicted(), torch.compile(predicted, backend="eager", fullgraph=True)
        for _ in range(12):
            torch.testing.assert_close(compiled(), expected)
    assert graphs() <= 3 and cotrain.step.hooks.fired["head"] == 2  # type: ignore[union-attr]


def test_a_module_that_is_compiled_by_itself_has_what_acts_at_its_own_call_outside() -> None:
    policy = Policy()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(4)), seam=SEAM)
    nn.init.constant_(cotrain.guidance.table, 0.5)  # type: ignore[arg-type,union-attr]
    with cotrain.guided(scale=3.0):
        expected = policy.sample(batch()["observation"], steps=12)
    policy.head.compile(backend="eager")
    with cotrain.guided(scale=3.0):
        torch.testing.assert_close(policy.sample(batch()["observation"], steps=12), expected)
    assert graphs() == 1 and cotrain.step.hooks.fired["head"] == 12  # type: ignore[union-attr]


@pytest.mark.parametrize("reentrant", [False, True])
def test_another_thread_that_compiles_changes_nothing(reentrant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for compiles in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiles=compiles: compiles)  # torch 2.13 tells all
        torch.manual_seed(0)
        found.append(stepped(Called("head", reentrant), full_method()))
    torch.testing.assert_close(*found)


def test_a_compiled_copy_is_guided_before_and_after_it_is_bare() -> None:
    policy, observation = Policy(), batch()["observation"]
    ema = copy.deepcopy(policy)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(4)), seam=SEAM)
    nn.init.constant_(cotrain.guidance.table, 0.5)  # type: ignore[arg-type,union-attr]

    def sampled(guided: bool) -> Tensor:
        with cotrain.guided(ema, scale=3.0) if guided else nullcontext():
            return ema.sample(observation)

    expected = [sampled(guided) for guided in (True, False, True)]
    ema.sample = torch.compile(ema.sample, backend="eager")  # type: ignore[method-assign]
    torch.testing.assert_close([sampled(guided) for guided in (True, False, True)], expected)
    assert not torch.allclose(expected[0], expected[1])


def test_a_copy_that_was_compiled_and_run_bare_is_guided_or_an_error() -> None:
    policy, observation = Policy(), batch()["observation"]
    ema = copy.deepcopy(policy)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(4)), seam=SEAM)
    nn.init.constant_(cotrain.guidance.table, 0.5)  # type: ignore[arg-type,union-attr]
    with cotrain.guided(scale=3.0):
        policy.sample(observation)
    ema.sample = torch.compile(ema.sample, backend="eager")  # type: ignore[method-assign]
    ema.sample(observation)
    with pytest.raises(RuntimeError, match="compiled and run before"), cotrain.guided(ema, scale=3.0):
        ema.sample(observation)


def test_a_check_of_a_compiled_policy_says_what_one_of_the_policy_says() -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        cotrain = wrapped(Called(), full_method(), in_graphs if compiled else None)
        cotrain(batch(), domain=HALF, step=0).total.backward()
        found.append(cotrain.check(batch(), domain=HALF))
    assert found[0] == found[1] and not found[0].told


class Decoded(Policy):
    """A head whose output another module takes on, in another graph."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 2).double()

    def forward(self, b: dict[str, Tensor]) -> Tensor:
        time = torch.full_like(b["action"][:, 0], 0.5)
        between = self.head(b["action"], time, condition=self.encoder(b["observation"]))
        graph_break()
        return (self.decoder(between) - b["action"]).square().mean()


def test_a_head_in_one_graph_reaches_the_module_that_takes_its_output_on_in_another() -> None:
    found, seam = [], replace(SEAM, prediction="decoder", time=None)
    for compiled in (False, True):
        torch.manual_seed(0)
        policy = Decoded()
        cotrain = CoTrain(policy, Method(weights=heavier), seam=seam, loss="__call__")
        if compiled:
            policy.compile(backend="eager")
        cotrain(batch(), domain=HALF).total.backward()
        found.append(gradients(cotrain))
    torch.testing.assert_close(*found)
    assert graphs() == 2


def test_what_acts_on_rows_is_on_the_policys_device_before_a_graph_runs() -> None:
    found = list[str]()

    def seen(graph: Any, inputs: Any) -> Any:
        found.extend(x.device.type for x in inputs if isinstance(x, Tensor))
        return graph

    policy = Called()
    cotrain = CoTrain(policy, full_method(), seam=replace(SEAM, time=None), loss="__call__").to("meta")
    policy.compile(backend=seen)
    on_meta = {name: x.to("meta") for name, x in batch().items()}
    cotrain(on_meta, domain=HALF, step=0, weight=torch.ones(6)).total.backward()
    assert set(found) == {"meta"}


def test_a_loss_taken_outside_of_a_step_is_the_policys_own() -> None:
    policy = Called()
    cotrain = wrapped(policy, full_method(), lambda policy: policy.compile(backend="eager"))
    cotrain(batch(), domain=HALF, step=0).total.backward()
    bare = noiseless(policy, batch()).mean()
    torch.testing.assert_close(policy(batch()), bare)
    assert not torch.isclose(cotrain(batch(), domain=HALF, step=0).policy, bare, rtol=1e-3)
