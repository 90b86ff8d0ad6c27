"""The toy with an encoder, so that terms have features: the cells of one arm trained as one ensemble.

    z = f(x)     c = z + E[domain]     v(a_t, t | c) ~ a - eps        encoder 3-64-16, head 26-64-64-64-2, per cell

Layers are batched over cells; terms are the library's own, one regularizer per cell, on that cell's z.  A batch has
round(ratio batch) target rows, source rows first.  Draws are a function of the seed alone, so cells of a seed differ in
nothing but dz, ratio and arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import cotrain_losses as ctl
from cotrain_losses.strength.probe import Seen, held_out_accuracy

from ..results import Row
from . import curves
from .arms import WIDTH, Arm
from .flow import PAIRS, SCALE, Cell, Stack, waves

DROP = 0.2  # probability that a sample's label is dropped
HELD = 6  # target samples that an arm may hold out
POSITIONS = 500


@dataclass(frozen=True)
class Budget:
    """How a cell is trained: AdamW's steps, batch and rate (cosine to zero), Euler steps of sampling."""

    steps: int = 1000
    batch: int = 80
    rate: float = 1e-2
    euler: int = 25


@dataclass(frozen=True)
class Batch:
    """One step's rows of every cell, (cells, batch, ...) each."""

    x: Tensor
    output: Tensor
    noise: Tensor
    time: Tensor
    token: Tensor  # 0 source, 1 target, 2 dropped


class Encoded(nn.Module):
    """Encoder, tokens and head of every cell."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Stack(seeds, [3, 64, WIDTH], "encoder")
        self.head = Stack(seeds, [WIDTH + 2 + 2 * PAIRS, 64, 64, 64, 2], "head")
        self.tokens = nn.Parameter(torch.zeros(len(seeds), 2, WIDTH))

    def told(self, z: Tensor, token: Tensor) -> Tensor:
        """z with each row's token added."""
        table = torch.cat([self.tokens, torch.zeros_like(self.tokens[:, :1])], 1)
        return z + table.gather(1, token[..., None].expand_as(z))

    def velocity(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        return self.head.layers(torch.cat([condition, noisy, waves(time)], -1))

    def errors(self, batch: Batch, condition: Tensor) -> Tensor:
        """The squared error of every cell's velocities, (cells,)."""
        noisy = torch.lerp(batch.noise, batch.output, batch.time[..., None])
        return (self.velocity(noisy, batch.time, condition) - (batch.output - batch.noise)).square().mean((1, 2))

    @torch.no_grad()
    def sample(self, x: Tensor, noise: Tensor, scale: float | None, steps: int) -> Tensor:
        """Outputs for target inputs (cells, n, 3), guided at a scale; None is without a label."""
        z, outputs = self.encoder.layers(x), noise
        told = self.told(z, torch.ones(z.shape[:2], dtype=torch.long))
        for k in range(steps):
            time = torch.full(x.shape[:2], k / steps)
            velocity = self.velocity(outputs, time, z if scale != 1.0 else told)
            if scale is not None and scale != 1.0:
                velocity = velocity + scale * (self.velocity(outputs, time, told) - velocity)
            outputs = outputs + velocity / steps
        return SCALE * outputs


class Experiment:
    """The cells of one arm: their data, their inputs as the arm normalises them, and what trains them."""

    def __init__(self, arm: Arm, cells: Sequence[Cell], budget: Budget) -> None:
        self.arm, self.cells, self.budget = arm, list(cells), budget
        self.seeds = sorted({cell.seed for cell in cells})
        self.of_seed = torch.tensor([self.seeds.index(cell.seed) for cell in cells])
        self.dz = curves.columns([cell.dz for cell in cells])
        self.sources = [budget.batch - round(cell.ratio * budget.batch) for cell in cells]
        self.is_target = torch.arange(budget.batch) >= torch.tensor(self.sources)[:, None]
        data = [curves.data(seed) for seed in self.seeds]
        self.positions = torch.stack([d.positions for d in data])
        self.outputs = torch.stack([d.outputs for d in data]) / SCALE
        self.shift, self.scale = self._normaliser()
        self.draws = [curves.stream("grid", seed) for seed in self.seeds]
        self.model = Encoded([cell.seed for cell in cells])
        self.terms = self._terms() if arm.asks else []

    def _normaliser(self) -> tuple[Tensor, Tensor]:
        """Shift and scale, (cells, 2, 3) each."""
        affine = []
        for positions, dz in zip(self.positions[self.of_seed], self.dz, strict=True):
            sides = positions.split([curves.N_SOURCE, curves.N_TARGET])
            affine.append(self.arm.inputs(*(curves.inputs(p, dz, torch.tensor(k)) for k, p in enumerate(sides))))
        shift, scale = zip(*affine, strict=True)
        return torch.stack(shift), torch.stack(scale)

    def _terms(self) -> list[ctl.Regularizer]:
        assert self.arm.asks is not None
        terms = []
        for cell in self.cells:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(cell.seed)
                terms.append(self.arm.asks(self.arm.strength))
        return terms

    def inputs(self, positions: Tensor, is_target: Tensor) -> Tensor:
        """Normalised inputs (cells, n, 3) from positions (cells, n, 2) and domains (cells, n)."""
        side = is_target.long()[..., None].expand(*is_target.shape, 3)
        x = curves.inputs(positions, self.dz, is_target)
        return (x - self.shift.gather(1, side)) / self.scale.gather(1, side)

    def train(self, track: Callable[[range], Iterable[int]] = iter) -> Encoded:
        """Train all cells together; a cell's terms act on its own z, source rows first."""
        optimizer = torch.optim.AdamW(self.model.parameters(), self.budget.rate, fused=True)
        if plugins := [parameter for term in self.terms for parameter in term.parameters()]:
            optimizer.add_param_group({"params": plugins, "weight_decay": 0.0})
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.budget.steps)
        release = round(self.arm.holds_out * self.budget.steps)
        for step in track(range(self.budget.steps)):
            if step == release:
                self._measured(lambda each, _: each.release())
            batch = self.batch(curves.N_TARGET - HELD if step < release else curves.N_TARGET)
            z = self.model.encoder.layers(batch.x)
            asked, z = self._asked(z, step)
            loss = self.model.errors(batch, self.model.told(z, batch.token)).sum() + asked
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if step < release:
                self._report()
        return self.model

    def _asked(self, z: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The sum of all cells' terms, and z as the head is to take it."""
        if not self.terms:
            return z.new_zeros(()), z
        values, seen = [], []
        for term, own, n in zip(self.terms, z.unbind(0), self.sources, strict=True):
            seen.append(term.seam(own))
            values.append(term(own[:n], own[n:], step=step))
        return torch.stack(values).sum(), torch.stack(seen) if self.arm.holds_out else z

    def batch(self, targets: int) -> Batch:
        """The next rows, the target's among its first `targets` samples."""
        size, drawn = self.budget.batch, []
        for g in self.draws:
            source = torch.randint(curves.N_SOURCE, (size,), generator=g)
            target = curves.N_SOURCE + torch.randint(targets, (size,), generator=g)
            time, drop = (torch.rand(size, generator=g) for _ in range(2))
            drawn.append((source, target, torch.randn(size, 2, generator=g), time, drop))
        source, target, noise, time, drop = (torch.stack(part)[self.of_seed] for part in zip(*drawn, strict=True))
        return self._batch(torch.where(self.is_target, target, source), self.is_target, noise, time, drop < DROP)

    def _batch(self, rows: Tensor, is_target: Tensor, noise: Tensor, time: Tensor, dropped: Tensor) -> Batch:
        seed = self.of_seed[:, None]
        token = torch.where(dropped, 2, is_target.long()) if self.arm.scales else torch.full_like(rows, 2)
        x = self.inputs(self.positions[seed, rows], is_target)
        return Batch(x, self.outputs[seed, rows], noise, time, token)

    def _measured(self, tell: Callable[..., None]) -> None:
        for k, term in enumerate(self.terms):
            for each in term.measured_strengths():
                tell(each, k)

    @torch.no_grad()
    def _report(self) -> None:
        """Tell measured strengths the loss on the samples held out, in the steps before which they ask for it."""
        if not any(each.due for term in self.terms[:1] for each in term.measured_strengths()):
            return
        rows = (curves.N_SOURCE + curves.N_TARGET - HELD + torch.arange(40 * HELD) % HELD).expand(len(self.cells), -1)
        size, g = rows.shape[1], curves.stream("held out", 0)
        noise, time = torch.randn(size, 2, generator=g).expand(*rows.shape, 2), torch.rand(size, generator=g)
        everywhere = torch.ones_like(rows, dtype=torch.bool)
        batch = self._batch(rows, everywhere, noise, time.expand_as(rows), ~everywhere)
        z = self.model.told(self.model.encoder.layers(batch.x), batch.token)
        losses = self.model.errors(batch, z).tolist()
        self._measured(lambda each, k: each.on_target_loss(losses[k]))

    @torch.no_grad()
    def rows(self) -> list[Row]:
        """What became of every cell, a row for each scale that its arm is guided at."""
        positions = curves.test_positions(POSITIONS).expand(len(self.cells), -1, -1)
        sides = [self.inputs(positions, torch.full(positions.shape[:2], side)) for side in (False, True)]
        features = self._features(*(self.model.encoder.layers(x) for x in sides))
        noise = {s: torch.randn(POSITIONS, 2, generator=curves.stream("samples", s)) for s in self.seeds}
        start, rows = torch.stack([noise[cell.seed] for cell in self.cells]), []
        for scale in self.arm.scales or (None,):
            outputs = self.model.sample(sides[1], start, scale, self.budget.euler)
            scores = curves.scores(outputs, positions[0, :, 0])
            for k, cell in enumerate(self.cells):
                named = {name: float(values[k]) for name, values in scores.items()}
                rows.append({**cell._asdict(), "scale": scale, **named, **features[k]})
        return rows

    def _features(self, source: Tensor, target: Tensor) -> list[Row]:
        """How well z tells the domains, and how far apart it puts the same position of both, cell by cell."""
        spread = (source - source.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
        apart = (source - target).square().sum(-1).mean(1).sqrt() / spread.clamp_min(1e-12)
        order = torch.randperm(POSITIONS, generator=curves.stream("probe", 0))
        sides = zip(source[:, order], target[:, order], strict=True)
        probe = [held_out_accuracy(Seen(s, None), Seen(t, None)) for s, t in sides]
        return [{"probe_accuracy": a, "apart": float(d)} for a, d in zip(probe, apart, strict=True)]
