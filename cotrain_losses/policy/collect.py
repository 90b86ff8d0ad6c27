"""Features collected from a trained policy, at several points in one pass over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._core.modes import evaluating
from ..measures.features import Features
from ..measures.layer import Diagnosis, diagnosis
from ..mixing.domains import Domains
from .adapters import loss_of
from .hooks import Hooks
from .passes import Pass
from .paths import networks
from .seam import Seam
from .sites import Captured


@dataclass(frozen=True)
class Collected:
    """Features of both domains, as one policy sees them.

    >>> from cotrain_losses.measures import Features
    >>> source, target = (Features({"encoder": torch.randn(rows, 4)}) for rows in (6, 2))
    >>> both = Collected(source, target)
    """

    source: Features
    target: Features

    def save(self, folder: str | Path, name: str = "features") -> tuple[Path, Path]:
        """Write source/<name>.npz and target/<name>.npz under `folder` and return the two paths."""
        source, target = (Path(folder) / side / f"{name}.npz" for side in ("source", "target"))
        for path, features in ((source, self.source), (target, self.target)):
            path.parent.mkdir(parents=True, exist_ok=True)
            features.save(path)
        return source, target

    def diagnoses(self, **options: Any) -> dict[str, Diagnosis]:
        """A diagnosis of every layer; `options` go to `diagnosis`."""
        groups = {"source_groups": self.source.groups, "target_groups": self.target.groups}
        layers = self.source.layers.items()
        return {name: diagnosis(x, self.target.layers[name], **groups, **options) for name, x in layers}


@torch.no_grad()
def collect_features(
    policy: Any,
    loader: Iterable[Any],
    *,
    seams: Sequence[Seam | str],
    domain: str | Callable[[Any], Any] = "is_target",
    domains: Sequence[str] = ("source", "target"),
    target: str | None = None,
    groups: str | Callable[[Any], Any] | None = None,
    run: Callable[[Any, Any], Any] | None = None,
    limit: int | None = None,
) -> Collected:
    """What a policy makes of a dataset, at several points at once.

    Args:
        policy: in eval mode while this runs.
        seams: dotted paths of modules whose outputs are layers, or `Seam`s.
        domain: key of the batch, or function of it, giving (b,) labels as `CoTrain` takes them.
        domains, target: names of the domains and of the target among them, as for `CoTrain`; all others are the source.
        groups: like `domain`, the episode (b,) of each sample.
        run: function `run(policy, batch)` that runs the policy; None takes its loss, as `CoTrain` finds it.
        limit: stop after this many rows of each domain.

    A module called several times in one run (cameras) has its outputs side by side.

    Raises:
        ValueError, TypeError: a path the policy does not have, a module that did not run, labels of wrong length.

    >>> from torch import nn
    >>> policy = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> batches = [{"x": torch.randn(6, 3), "is_target": torch.arange(6) >= 4}]
    >>> def run(policy, batch):
    ...     return policy(batch["x"])
    >>> collected = collect_features(policy, batches, seams=["0"], run=run)
    >>> collected.source.layers["0"].shape, collected.target.layers["0"].shape
    (torch.Size([4, 4]), torch.Size([2, 4]))
    """
    if isinstance(seams, str):
        raise TypeError(f"seams is a list of paths and seams, got {seams!r}. Write seams=[{seams!r}].")
    named, run = Domains.named(domains, target), run or loss_of(policy)
    layers = {seam if isinstance(seam, str) else seam.place: _Layer(seam) for seam in seams}
    is_target, episodes = list[Tensor](), list[Tensor]()
    with ExitStack() as stack:
        for layer in layers.values():
            hooks = Hooks(layer.seam).attach(policy)
            stack.callback(hooks.remove)
            stack.enter_context(hooks.use(layer))
        stack.enter_context(evaluating(*networks(policy)))
        for batch in loader:
            labels = named.labels(_of_batch(batch, domain, "domain"), batch)
            is_target.append(named.is_target(labels))
            if groups is not None:
                episodes.append(_numbers(_of_batch(batch, groups, "groups")))
            for layer in layers.values():
                layer.domain = labels
            run(policy, batch)
            for name, layer in layers.items():
                layer.collect(name)
            if limit is not None and torch.cat(is_target).long().bincount(minlength=2).min() >= limit:
                break
    if not is_target:
        raise ValueError("features are collected from batches, got a loader that holds none.")
    sides, of_target = [], torch.cat(is_target)
    for mask in (~of_target, of_target):
        rows = mask.nonzero().squeeze(1)[:limit]
        each = {name: torch.cat(layer.rows)[rows] for name, layer in layers.items()}
        sides.append(Features(each, torch.cat(episodes)[rows] if episodes else None))
    return Collected(*sides)


def _numbers(groups: Any) -> Tensor:
    """(b,) which episode each row is of, on the CPU."""
    try:
        return torch.as_tensor(groups).detach().cpu().reshape(-1)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"groups are one number per row, got {type(groups).__name__} ({error}). Number the episodes."
        ) from error


class _Layer(Pass):
    """Reads features at a seam and changes nothing."""

    def __init__(self, seam: Seam | str) -> None:
        self.seam = Seam(feature=seam) if isinstance(seam, str) else seam
        self.passed, self.rows = list[Captured](), list[Tensor]()

    def on_features(self, z: Tensor, captured: Captured | None) -> Tensor:
        if captured is not None:
            self.passed.append(captured._replace(z=captured.z.detach()))
        return z

    def collect(self, name: str) -> None:
        """Keep (b, d) features of one run of the policy."""
        if not self.passed:
            raise ValueError(
                f"features are what passes {name} while the policy runs, got a run in which it was not called. "
                "Name a module that is, or pass run=lambda policy, batch: ... that reaches it."
            )
        self.rows.append(self.seam.features_in(self.passed).float().cpu())
        self.passed.clear()


def _of_batch(batch: Any, key: str | Callable[[Any], Any], what: str) -> Any:
    if isinstance(key, str) and not (isinstance(batch, Mapping) and key in batch):
        raise ValueError(
            f"{what} is a key of the batch or a function of it, got {key!r} for a {type(batch).__name__} "
            f"{'with ' + ', '.join(map(str, batch)) if isinstance(batch, Mapping) else ''}."
        )
    return batch[key] if isinstance(key, str) else key(batch)
