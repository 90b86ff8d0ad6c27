"""Two- and three-dimensional pictures of features: principal components, and UMAP where it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from ...measures.sides import Side, subsample


@dataclass(frozen=True)
class Embedding:
    """Rows of both domains in the plane and in space."""

    method: str
    flat: Tensor
    """(n, 2)"""
    solid: Tensor
    """(n, 3)"""
    is_target: Tensor

    def points(self, dimensions: int) -> Tensor:
        """(n, 2) or (n, 3)."""
        return self.flat if dimensions == 2 else self.solid


def embeddings(source: Side, target: Side, *, rows: int = 1000, seed: int = 0) -> tuple[Embedding, ...]:
    """Pictures of at most `rows` rows of each domain; widths must be equal."""
    generator = torch.Generator().manual_seed(seed)
    size = min(rows, max(len(source), len(target)))
    source, target = (subsample(side, size, generator) for side in (source, target))
    pooled = torch.cat([source.features, target.features])
    is_target = torch.arange(len(pooled)) >= len(source)
    solid = principal_components(pooled, 3)
    pictures = [Embedding("PCA", solid[:, :2], solid, is_target)]
    if find_spec("umap") is not None and len(pooled) > 15:
        pictures.append(Embedding("UMAP", _umap(pooled, 2, seed), _umap(pooled, 3, seed), is_target))
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
