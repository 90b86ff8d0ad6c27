"""Domain guidance: how the domain reaches the head, and how it is used at sampling.

    training   c = z + E[domain],  the label dropped per sample with probability p (then c = z)
    sampling   guided = uncond + scale * (cond - uncond)

scale = 1 is the conditional policy, 0 the unconditional one, 0.5 the mean of both.  The table E
starts at zero and its null row stays there, so attaching guidance changes nothing at step 0 and the
bare policy is exactly the unconditional branch.

Ho & Salimans, "Classifier-Free Diffusion Guidance", 2022 write (1 + w) cond - w uncond, as do Lei et
al. 2026 with lambda for w: scale = 1 + w = 1 + lambda.  Their best lambda = -0.5 is scale 0.5.
diffusers' guidance_scale is `scale`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ._core.checks import whole
from ._core.device import capturing, moved


class DomainGuidance(nn.Module):
    """A token for each domain and one for none, added to the head's condition.

    Args:
        width: width of the condition the token is added to.  None lets `CoTrain` read it from the
            seam when it is attached.
        drop: probability that a sample's label is dropped in training, drawn per sample.  Lei et al.
            use 0.2, Ho & Salimans 0.1 to 0.2; Wei et al. 2025 drop per batch.
        scale: weight of the conditional prediction at sampling, see `guide`.  1 is the label alone; Lei et al. report
            0.5 as best, and it was worse in this project's own study (docs/studies.md).
        domains: how many domains there are.
        one_hot: append one-hot columns instead of adding a learned token.  Only for a head that was
            built with `domains` more condition columns; the null row is all zeros.

    Shape:
        condition (b, ..., width), domain (b,) integers -> condition of the same shape
        (`domains` columns wider with one_hot).

    >>> guidance = DomainGuidance(width=3)
    >>> torch.equal(guidance(torch.ones(2, 3), torch.tensor([0, 1])), torch.ones(2, 3))
    True
    """

    table: nn.Parameter | None

    def __init__(
        self,
        width: int | None = None,
        *,
        drop: float = 0.2,
        scale: float = 1.0,
        domains: int = 2,
        one_hot: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= drop <= 1.0:
            raise ValueError(f"drop is the probability of dropping a label and lies in [0, 1], got {drop}. Lei: 0.2.")
        self.drop, self.scale, self.domains, self.one_hot = drop, checked_scale(scale), domains, one_hot
        self.register_parameter("table", None)
        self._draws: torch.Generator | None = None
        if width is not None:
            self.build(width, domains)

    def build(self, width: int, domains: int) -> None:
        """Make the zero table of (domains, width); one-hot columns need none."""
        self.domains, width = whole("domains", domains, 1), whole("width", width, 1)
        if not self.one_hot:
            self.table = nn.Parameter(torch.zeros(domains, width))

    def forward(self, condition: Tensor, domain: Tensor) -> Tensor:
        """`condition` with each sample's token; a domain of -1 is the null row."""
        token = self._tokens(domain).to(condition)
        token = token.reshape(len(token), *[1] * (condition.ndim - 2), token.shape[-1])
        if self.one_hot:
            return torch.cat([condition, token.expand(*condition.shape[:-1], -1)], -1)
        self._check_width(condition)
        return condition + token

    def dropped(self, domain: Tensor) -> Tensor:
        """`domain` with each entry turned into the null row, -1, with probability `drop`.

        Drawn from a generator of its own, so that the policy's random numbers are what they would be
        without guidance; its state is part of the state_dict.  In a captured step from the device's, which each replay
        of a CUDA graph moves on.
        """
        if capturing():
            keep = torch.rand(len(domain), device=domain.device) >= self.drop
        else:
            keep = moved(torch.rand(len(domain), generator=self._generator()) >= self.drop, domain.device)
        return torch.where(keep, domain, -1)

    def get_extra_state(self) -> Tensor:
        return self._generator().get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self._generator().set_state(state.cpu())

    def extra_repr(self) -> str:
        return f"domains={self.domains}, drop={self.drop}, scale={self.scale}"

    def __getstate__(self) -> dict[str, Any]:  # a generator can be neither copied nor pickled, its state can
        return {**self.__dict__, "_draws": None if self._draws is None else self._draws.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        draws = state.pop("_draws")
        super().__setstate__({**state, "_draws": None})  # type: ignore[no-untyped-call]
        if draws is not None:
            self.set_extra_state(draws)

    def _generator(self) -> torch.Generator:
        if self._draws is None:
            self._draws = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        return self._draws

    def _tokens(self, domain: Tensor) -> Tensor:
        if self.one_hot:
            return (domain[:, None] == torch.arange(self.domains, device=domain.device)).long()
        if self.table is None:
            raise ValueError(
                "DomainGuidance needs the width of the condition its token is added to, got width=None. "
                "Pass DomainGuidance(width=...), or attach it with CoTrain at a seam whose width is known."
            )
        return torch.cat([self.table.new_zeros(1, self.table.shape[1]), self.table])[domain + 1]

    def _check_width(self, condition: Tensor) -> None:
        if self.table is not None and condition.shape[-1] != self.table.shape[1]:
            raise ValueError(
                f"DomainGuidance adds a token of width {self.table.shape[1]} to the head's condition, "
                f"got a condition of shape {tuple(condition.shape)}. Pass width={condition.shape[-1]}."
            )


def checked_scale(scale: float) -> float:
    """The weight of the conditional prediction as a plain number, which is finite."""
    number = float(scale)
    if not math.isfinite(number):
        raise ValueError(f"scale weighs the conditional prediction and is a finite number, got {scale}. Lei: 0.5.")
    return number


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """uncond + scale * (cond - uncond), exact at scale 0 and 1.

    Shape:
        two predictions of one shape -> that shape.  Valid for noise, score, x0 and velocity
        predictions alike, which are affine in one another (Lipman et al. 2023, section 4).

    >>> guide(torch.tensor(3.0), torch.tensor(1.0), 0.5).item()
    2.0
    """
    return torch.lerp(unconditional, conditional, scale)
