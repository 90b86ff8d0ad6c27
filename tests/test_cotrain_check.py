"""What a check of the seam finds, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cotrain_losses
from cotrain_losses import CoTrain, DomainGuidance, Method, Seam
from cotrain_losses._core.device import drawn_on, reseed
from cotrain_losses.policy.watch import tensorboard
from tests.toy import Policy, batch
from tests.training import Gap
from tests.wrapped import LABELS, SEAM, Critic, policy


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


def test_check_counts_no_calls_of_a_head_that_the_seam_does_not_name() -> None:
    cotrain = CoTrain(policy(), Method(regularizer=0.1 * Gap()), seam=Seam(feature="encoder"))
    check = cotrain.check(batch(), domain=LABELS)
    assert check.features == (6, 4) and check.head_calls is None


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


def test_a_watch_writes_every_number_of_its_record_to_tensorboard() -> None:
    written: list[tuple[str, float, int]] = []
    writer = type("Writer", (), {"add_scalar": lambda self, *scalar: written.append(scalar)})()
    cotrain = CoTrain(policy(), Method(regularizer=0.1 * Gap()), seam=SEAM)
    watch = cotrain.watch(every=1, to=tensorboard(writer))
    cotrain(batch(), domain=LABELS, step=3)
    assert written == [(name, value, 3) for name, value in watch.values.items()] != []


def test_a_rank_forks_the_random_numbers_of_its_own_gpu_alone() -> None:
    class There(nn.Linear):
        def parameters(self, recurse: bool = True) -> Any:
            return [SimpleNamespace(device=torch.device("cuda:1"))]

    assert drawn_on(There(2, 2), nn.Linear(2, 2)) == [torch.device("cuda:1")]


def test_no_gpu_is_seeded_but_the_policys(monkeypatch: pytest.MonkeyPatch) -> None:
    there, before = [torch.Generator().manual_seed(number) for number in (1, 2)], torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "default_generators", there)
    with torch.random.fork_rng(devices=[]):
        reseed(7, [torch.device("cuda:1")])
        assert [generator.initial_seed() for generator in there] == [1, 7] and torch.initial_seed() == 7
    assert torch.equal(torch.get_rng_state(), before)


def test_the_library_seeds_no_gpu_that_is_not_its_own() -> None:
    calls = [path.name for path in Path(cotrain_losses.__file__).parent.rglob("*.py") if _seeds(path.read_text())]
    assert calls == ["device.py"]


def _seeds(text: str) -> bool:
    """Whether a line of code calls torch.manual_seed, examples in docstrings left out."""
    return any(line.lstrip().startswith("torch.manual_seed(") for line in text.splitlines())
