"""One layer of one checkpoint: its row in a table, and its pictures in two and three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from ...datasets.names import shown
from ...measures.layer import Diagnosis
from ...measures.sides import Side, in_units, joined, subsample

HEADINGS = ("regime", "W debiased", "u", "probe", "W", "x split-half", "SW", "GW", "mixing", "MMD p", "linear")


class Embedding(NamedTuple):
    """Rows of both domains in the plane and in space."""

    method: str
    points: dict[int, Tensor]
    """(n, 2) and (n, 3), by their number of dimensions"""
    is_target: Tensor


@dataclass(frozen=True)
class Layer:
    """One layer of one checkpoint: its diagnosis, or the sentence that says why there is none."""

    checkpoint: str
    name: str
    ratio: float | None = None
    diagnosis: Diagnosis | None = None
    error: str | None = None
    embeddings: tuple[Embedding, ...] = ()

    @property
    def title(self) -> str:
        """Checkpoint and layer in a line, as printable text."""
        return shown(f"{self.checkpoint} · {self.name}" if self.checkpoint else self.name)

    @property
    def regime(self) -> str:
        """The regime's name, or a dash."""
        return self.diagnosis.regime.name if self.diagnosis and self.diagnosis.regime else "-"

    @property
    def transport(self) -> tuple[float, float, float] | None:
        """The debiased Wasserstein distance in units of the pooled spread, with its 95 % interval."""
        distance = self.diagnosis.distances.get("wasserstein") if self.diagnosis else None
        return None if distance is None else (distance.debiased, *distance.debiased_interval)

    @property
    def accuracy(self) -> tuple[float, float, float] | None:
        """The probe's held-out accuracy, with its 95 % interval."""
        probe = self.diagnosis.probe if self.diagnosis else None
        return None if probe is None else (probe.accuracy, *probe.interval)

    def cells(self) -> list[str]:
        """The row of the table under HEADINGS."""
        d = self.diagnosis
        if d is None:
            return ["failed"] + ["-"] * (len(HEADINGS) - 1)
        w, sliced, gromov = (d.distances.get(n) for n in ("wasserstein", "sliced_wasserstein", "gromov_wasserstein"))
        between = () if d.regime is None else d.regime.between
        return [
            self.regime if len(between) < 2 else f"{self.regime}: {' or '.join(between)}",
            "-" if w is None else _with_interval(w.debiased, w.debiased_interval),
            "-" if d.regime is None or self.regime == "collapsed" else f"{d.regime.distance[0]:.2f}",
            "-" if d.probe is None else _with_interval(d.probe.accuracy, d.probe.interval),
            "-" if w is None else f"{w.value:.3f} ± {w.standard_error:.3f}",
            "-" if w is None else f"{w.multiple:.2f}",
            "-" if sliced is None else f"{sliced.value:.3f}",
            "-" if gromov is None else f"{gromov.value:.3f}",
            "-" if d.mixing is None else f"{d.mixing:.2f}",
            "-" if d.kernel is None else f"{d.kernel.p_value:.3f}",
            "-" if d.linear_probe is None else f"{d.linear_probe.accuracy:.3f}",
        ]


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def embeddings(source: Side, target: Side, *, rows: int = 1000, seed: int = 0) -> tuple[Embedding, ...]:
    """Pictures of at most `rows` rows of each domain, in units of their spread; none where widths differ."""
    if source.features.shape[1] != target.features.shape[1] or (scaled := in_units(source, target)) is None:
        return ()
    generator = torch.Generator().manual_seed(seed)
    source, target = (subsample(side, rows, generator) for side in scaled)
    x, domain, _ = joined(source, target)
    solid = principal_components(x, 3)
    pictures = [Embedding("PCA", {2: solid[:, :2], 3: solid}, domain == 1)]
    if find_spec("umap") is not None and len(x) > 15:
        pictures.append(Embedding("UMAP", {k: _umap(x, k, seed) for k in (2, 3)}, domain == 1))
    return tuple(pictures)


def principal_components(x: Tensor, number: int) -> Tensor:
    """(n, number) scores on the directions of largest variance, zeros where there are no more."""
    u, s, _ = torch.pca_lowrank(x, q=min(number + 5, *x.shape), niter=4)
    scores = (u * s)[:, :number]
    return torch.nn.functional.pad(scores, (0, number - scores.shape[1]))


def _umap(x: Tensor, dimensions: int, seed: int) -> Tensor:
    import umap  # type: ignore[import-not-found,import-untyped,unused-ignore]

    model = umap.UMAP(n_components=dimensions, random_state=seed, n_jobs=1)
    return torch.as_tensor(model.fit_transform(x.numpy()))
