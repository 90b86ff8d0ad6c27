"""`check` measures whose rows are whose: 1 - cosine of gradients before and after weightless samples are exchanged."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cotrain_bench.gpu.machine import Machine
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method, Seam
from cotrain_losses.policy.sites import Site
from tests.adapted import case as adapted_case
from tests.adapted import joined as adapted
from tests.adapted import named
from tests.sited import KINDS, case, joined, kinds
from tests.test_sites import labels
from tests.toy import Policy, batch
from tests.wrapped import LABELS, SEAM

RIGHT, WRONG = 1e-6, 1e-3


@kinds
def test_rows_told_right_turn_nothing(name: str) -> None:
    c = case(name)
    guides = KINDS[name].seam.sampler
    cotrain = joined(name, c, Method(guidance=DomainGuidance() if guides else None))
    check = cotrain.check(c.batch, domain=labels(c))
    assert check.turned is not None and check.turned < RIGHT
    assert check.weights_reach_all and not check.told


@named
def test_the_rows_of_known_codebases_turn_nothing(module: Any, k: int) -> None:
    c = adapted_case(module, k)
    check = adapted(c, Method(guidance=DomainGuidance())).check(c.batch, domain=torch.arange(c.samples) % 2 == 0)
    assert check.turned is not None and check.turned < RIGHT
    assert [each for each in check.told if "install() does not" not in each] == []  # robomimic's holds one


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("cogact", "side by side", r"rows at action_model\.net\.forward are other samples'.*Seam\(rows='repeated'\)"),
        ("starvla-8", "side by side", r"rows at action_model\.model .*Seam\(rows='repeated'\)"),
        ("starvla-4", "side by side", r"rows at action_model\.model .*Seam\(rows='repeated'\)"),
        (
            "mode",
            lambda n, domain: torch.arange(n).flip(0),
            r"rows at model\.inner_model .*Seam\(rows='side by side'\)",
        ),
        ("act-plus-plus", lambda n, domain: torch.arange(n).roll(2), r"rows at nets\.policy\.noise_pred_net "),
        (
            "act-plus-plus",
            lambda n, domain: torch.arange(n).reshape(2, -1).flip(1).flatten(),
            r"rows at nets\.policy\.",
        ),
        ("maniflow", lambda n, domain: torch.arange(n), "turned by"),
        ("hpt-real", lambda n, domain: torch.arange(n).flip(0), r"rows at heads\.real "),
    ],
)
def test_rows_told_wrong_turn_the_gradient_and_are_refused(name: str, rows: Any, said: str) -> None:
    c = case(name)
    cotrain = joined(name, c, Method(), seam=replace(KINDS[name].seam, rows=rows))
    try:
        check = cotrain.check(c.batch, domain=labels(c))
    except ValueError as error:
        assert re.search(said, str(error)), error
        assert float(re.search(r"turned by ([\d.e+-]+)", str(error))[1]) > WRONG  # type: ignore[index]
    else:
        assert check.turned is not None and check.turned > WRONG and re.search(said, check.told[0])


@named
def test_rows_of_known_codebases_told_wrong_turn_the_gradient(module: Any, k: int) -> None:
    c = adapted_case(module, k)
    seam = CoTrain(adapted_case(module, k).policy, Method()).seam
    assert seam is not None
    cotrain = adapted(c, Method(), seam=replace(seam, rows=lambda n, domain: torch.arange(n).roll(3) % c.samples))
    with pytest.raises(ValueError, match=r"turned by .* rows at") as error:
        cotrain.check(c.batch, domain=torch.arange(c.samples) % 2 == 0)
    assert float(re.search(r"turned by ([\d.e+-]+)", str(error.value))[1]) > WRONG  # type: ignore[index]


@pytest.mark.parametrize("layer", ["attention over the batch", "its mean"])
def test_a_layer_that_couples_samples_is_named(layer: str) -> None:
    class Coupled(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z - z.mean(0) if layer == "its mean" else torch.softmax(z @ z.T, 1) @ z

    torch.manual_seed(0)
    policy = Policy()
    policy.encoder.append(Coupled())
    check = CoTrain(policy, Method(), seam=SEAM).check(batch(), domain=LABELS)
    assert check.turned is not None and check.turned > WRONG
    assert check.told[0].startswith("encoder.3 (Coupled) couples the samples of a batch")
    assert "! encoder.3 (Coupled)" in str(check)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_parts_that_torch_jit_compiled_are_stepped_over_and_are_no_site() -> None:
    class Scripted(Policy):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = torch.jit.script(self.encoder), torch.jit.script(self.head)

        def predicted(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
            return self.head(noisy, time, condition)

        def compute_loss(self, data: dict[str, Tensor]) -> Tensor:
            z, action = self.encoder(data["observation"]), data["action"]
            predicted = self.predicted(torch.randn_like(action), action[:, 0], z + z.mean(0))
            return (predicted - action).square().mean()

    with pytest.raises(TypeError, match=r"got 'head', which torch.jit has compiled. Name a method"):
        CoTrain(Scripted(), Method(), seam=SEAM)
    check = CoTrain(Scripted(), Method(), seam=replace(SEAM, head="predicted")).check(batch(), domain=LABELS)
    assert check.turned is not None and check.turned > WRONG and "couples the samples" in check.told[0]


def test_batch_norm_and_dropout_do_not_turn_the_gradient() -> None:
    torch.manual_seed(0)
    policy = Policy()
    policy.encoder.append(nn.BatchNorm1d(4).double())
    policy.encoder.append(nn.Dropout(0.5))
    check = CoTrain(policy, Method(), seam=SEAM).check(batch(), domain=LABELS)
    assert check.turned is not None and check.turned < RIGHT and not check.told
    assert policy.encoder[3].training and policy.encoder[3].num_batches_tracked == 0


def test_the_measurement_costs_two_steps_more_and_leaves_no_random_number_drawn() -> None:
    calls = []

    class Counted(Policy):
        def compute_loss(self, b: dict[str, Tensor]) -> Tensor:
            calls.append(random.random() + np.random.rand())
            return super().compute_loss(b)

    cotrain, states = CoTrain(Counted(), Method(), seam=SEAM), (random.getstate(), np.random.get_state()[1].copy())
    cotrain.check(batch(), domain=LABELS)
    assert len(calls) == 4  # a step, one without weight, and two
    assert random.getstate() == states[0] and (np.random.get_state()[1] == states[1]).all()


def test_a_token_of_other_samples_turns_the_gradient_where_weights_do_not() -> None:
    c = case("mode")
    wrong = Site("model.inner_model.tok_emb", rows=lambda n, domain: torch.arange(n).flip(0))
    seam = Seam(head="model.inner_model", feature="static_resnet", token=wrong, width=8)
    told = joined("mode", c, Method(guidance=DomainGuidance()), seam=seam).check(c.batch, domain=labels(c)).told
    assert "couples the samples of a batch" in told[0]


def test_a_scale_that_changes_nothing_is_told() -> None:
    c = case("mode")
    outside = Seam(head="model.inner_model", feature="static_resnet", token="static_resnet", width=4)
    check = joined("mode", c, Method(guidance=DomainGuidance()), seam=outside).check(c.batch, domain=labels(c))
    assert any("guidance's scale changes nothing in what model.inner_model predicts" in each for each in check.told)


def test_a_sampler_that_guidance_does_not_reach_is_an_error_of_the_check() -> None:
    c = case("cogact")
    cotrain = joined("cogact", c, Method(guidance=DomainGuidance()))
    assert not cotrain.check(c.batch, domain=labels(c), sample=c.sample).told
    cotrain.unwrap()
    module = replace(KINDS["cogact"].seam, head="action_model.net")
    cotrain = joined("cogact", c, cotrain.method, seam=module)
    with pytest.raises(RuntimeError, match=r"action_model\.net was not called"):
        cotrain.check(c.batch, domain=labels(c), sample=c.sample)


def test_a_method_that_no_optimizer_holds_is_told() -> None:
    policy = Policy()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(4)), seam=SEAM)
    optimizer = torch.optim.SGD(policy.parameters(), 0.1)
    assert any("no optimizer holds" in each for each in cotrain.check(batch(), domain=LABELS).told)
    optimizer.add_param_group({"params": list(cotrain.plugin_parameters())})
    assert not cotrain.check(batch(), domain=LABELS).told


def test_terms_that_a_batch_skips_are_told_with_the_cure() -> None:
    c = case("hpt-real")
    check = joined("hpt-real", c, Method(regularizer=0.1 * MMD())).check(
        c.batch, domain=torch.ones(6, dtype=torch.bool)
    )
    assert check.told == (
        "mmd was skipped: this batch has 0 source, 6 target. "
        "It compares two rows or more of each. Mix the domains, or keep rows of earlier batches: CoTrain(memory=64).",
    )


def test_a_check_holds_a_step_and_one_gradient_more() -> None:
    wide = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(8, 300), nn.Tanh(), nn.Linear(300, 300))})
    wide["head"] = nn.Linear(300, 2)
    loss, x = lambda policy, x: policy.head(policy.encoder(x)).square().mean(), torch.randn(2000, 8)
    cotrain = CoTrain(wide, Method(), seam=Seam(feature="encoder", head="head"), loss=loss)
    gradient = 4 * sum(p.numel() for p in wide.parameters())
    domain, on = torch.arange(2000) % 4 == 0, Machine("cpu")
    step = on.peak(lambda: cotrain(x, domain=domain).total.backward())
    pieces = 4 * 8 * 300 * 300  # of the largest parameter, in double precision
    assert on.peak(lambda: cotrain.check(x, domain=domain)) < step + 1.2 * gradient + pieces
