"""Two- and three-dimensional pictures of features: principal components, and UMAP where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from ...measures.sides import Side, subsample


class Embedding(NamedTuple):
    """Rows of both domains in the plane and in space."""

    method: str
    points: dict[int, Tensor]
    """(n, 2) and (n, 3), by their number of dimensions"""
    is_target: Tensor


def embeddings(source: Side, target: Side, *, rows: int = 1000, seed: int = 0) -> tuple[Embedding, ...]:
    """Pictures of at most `rows` rows of each domain; widths must be equal."""
    generator = torch.Generator().manual_seed(seed)
    size = min(rows, max(len(source), len(target)))
    source, target = (subsample(side, size, generator) for side in (source, target))
    pooled = torch.cat([source.features, target.features])
    is_target = torch.arange(len(pooled)) >= len(source)
    solid = principal_components(pooled, 3)
    pictures = [Embedding("PCA", {2: solid[:, :2], 3: solid}, is_target)]
    if find_spec("umap") is not None and len(pooled) > 15:
        pictures.append(Embedding("UMAP", {k: _umap(pooled, k, seed) for k in (2, 3)}, is_target))
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
