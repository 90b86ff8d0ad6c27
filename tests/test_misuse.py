"""What newcomers do by mistake: each is refused or told in a sentence that names the cure."""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method, Rows, Seam
from cotrain_losses.policy import collect_features
from tests.toy import Policy, batch
from tests.wrapped import LABELS, SEAM, policy, seeded


def aligned() -> Method:
    return Method(regularizer=0.1 * MMD())


# a policy whose call gives predictions


class Predicts(nn.Module):
    """A policy without compute_loss, whose call gives `shape` numbers a sample."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.encoder, self.shape = nn.Linear(3, 4).double(), shape

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        z: Tensor = self.encoder(batch["observation"])
        return z.square().sum(1) if not self.shape else z[:, : self.shape[0]]


class Names(Predicts):
    """One that says that they are losses."""

    def forward(self, batch: dict[str, Tensor]) -> Any:
        return {"loss": super().forward(batch).square()}


def test_several_numbers_a_sample_are_no_loss_unless_that_is_said() -> None:
    with pytest.raises(TypeError, match=r"got \(6, 2\) numbers of Predicts, which may be its predictions.*loss=lambda"):
        CoTrain(Predicts(2), Method())(batch(), domain=LABELS)
    meant = CoTrain(Predicts(2), Method(), loss="forward")(batch(), domain=LABELS)
    given = CoTrain(Predicts(2), Method(), loss=lambda p, b: p(b))(batch(), domain=LABELS)
    one = CoTrain(Predicts(), Method())(batch(), domain=LABELS)
    named = CoTrain(Names(2), Method())(batch(), domain=LABELS)
    assert all(losses.total.ndim == 0 for losses in (meant, given, one, named))


def test_predictions_are_no_loss_where_a_method_is_installed_either() -> None:
    predicts = Predicts(2)
    CoTrain(predicts, Method()).install(domain=lambda _: LABELS)
    with pytest.raises(TypeError, match="may be its predictions"):
        predicts(batch())
    assert predicts.eval()(batch()).shape == (6, 2)


def test_features_of_a_policy_that_predicts_are_collected_all_the_same() -> None:
    batches = [{**batch(), "is_target": LABELS}]
    assert collect_features(Predicts(2), batches, seams=["encoder"]).source.layers["encoder"].shape == (4, 4)


# a policy in eval mode


def test_learning_in_eval_mode_is_told_once_and_evaluating_there_is_not() -> None:
    p = policy().eval()
    cotrain = CoTrain(p, aligned(), seam=SEAM)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        float(cotrain(batch(), domain=LABELS).total.detach())
        with torch.no_grad():
            cotrain(batch(), domain=LABELS)
        CoTrain(policy().eval(), Method(ratio=0.2), seam=SEAM)(batch(), domain=LABELS).total.backward()
    with pytest.warns(UserWarning, match=r"loss of a policy in eval mode.*Call policy\.train\(\)") as caught:
        for _ in range(3):
            cotrain(batch(), domain=LABELS).total.backward()
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="eval mode"):
        bare = CoTrain(policy().eval(), Method(), seam=SEAM)
        bare(batch(), domain=LABELS, weight=torch.ones(6)).total.backward()


# features


class Beside(Policy):
    """A policy with a layer whose output its loss does not need."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 4).double()

    def per_sample(self, batch: dict[str, Tensor]) -> Tensor:
        self.other(batch["observation"])
        return super().per_sample(batch)


def test_check_tells_of_features_that_the_loss_does_not_need() -> None:
    (told,) = CoTrain(Beside(), aligned(), seam=Seam(feature="other", head="head")).check(batch(), domain=LABELS).told
    assert "loss does not depend on the features at other" in told
    for seam in (SEAM, Seam(feature="encoder", head="head")):
        assert CoTrain(Beside(), aligned(), seam=seam).check(batch(), domain=LABELS).told == ()


class Samples(Policy):
    """A policy that samples under no_grad, for a log, before its loss is computed."""

    def per_sample(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.random.fork_rng():
            self.sample(batch["observation"] + 1.0)
        return super().per_sample(batch)


@pytest.mark.parametrize("seam", [SEAM, Seam(feature="encoder", head="head")], ids=["head", "feature"])
def test_calls_under_no_grad_have_no_features(seam: Seam) -> None:
    found = []
    for kind in (Policy, Samples):
        torch.manual_seed(0)
        p = kind()
        losses = seeded(lambda p=p: CoTrain(p, aligned(), seam=seam)(batch(), domain=LABELS))
        losses.total.backward()
        found.append((losses.raw["mmd"], [q.grad for q in p.parameters()]))
    torch.testing.assert_close(*found)


def test_one_row_of_a_domain_is_told_as_too_few() -> None:
    check = CoTrain(policy(), aligned(), seam=SEAM).check(batch(), domain=torch.arange(6) < 1)
    assert "two rows or more of each" in check.told[0]


# guidance


def test_a_block_in_which_another_policy_sampled_or_none_names_both() -> None:
    cotrain = CoTrain(policy(), Method(guidance=DomainGuidance(4)), seam=SEAM)
    says = r"(?s)head was not called.*cotrain\.guided\(copy\).*nothing was sampled"
    for act in (lambda: None, lambda: policy().sample(torch.randn(2, 3).double())):
        with pytest.raises(RuntimeError, match=says), cotrain.guided(scale=2.0):
            act()


# arguments


def test_data_parallel_over_several_gpus_is_refused_and_over_one_is_not() -> None:
    p = nn.DataParallel(policy())
    CoTrain(p, aligned(), seam=SEAM)(batch(), domain=LABELS)
    p.device_ids = [0, 1]
    with pytest.raises(ValueError, match=r"splits it over 2 GPUs. Use DistributedDataParallel"):
        CoTrain(p, aligned(), seam=SEAM)


@pytest.mark.parametrize("name", ["domain", "weight", "index", "has_action", "step"])
def test_what_install_reads_of_a_batch_is_a_function(name: str) -> None:
    with pytest.raises(TypeError, match=rf"install\({name}=\.\.\.\) is a function, got 'key'"):
        CoTrain(policy(), aligned(), seam=SEAM).install(**{name: "key"})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"groups": lambda b: ["a"] * 6}, "every part of Rows is a tensor, got group of type list"),
        ({"extras": lambda b: {"action": [0.0] * 6}}, r"got extras\['action'\] of type list"),
        ({"extras": lambda b: b["action"]}, "maps names to tensors, got Tensor"),
    ],
)
def test_what_is_said_of_rows_is_tensors(how: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        CoTrain(policy(), aligned(), seam=SEAM, **how)(batch(), domain=LABELS)


def test_rows_without_extras_are_rows_whatever_maps_none() -> None:
    assert Rows(torch.zeros(3, 2), MappingProxyType({})).bare


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"seams": "encoder"}, r"seams is a list.*Write seams=\['encoder'\]"),
        ({"seams": ["encoder"], "groups": lambda b: ["a"] * 6}, "groups are one number per row, got list"),
    ],
)
def test_what_collecting_takes_is_said(how: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        collect_features(policy(), [{**batch(), "is_target": LABELS}], **how)
