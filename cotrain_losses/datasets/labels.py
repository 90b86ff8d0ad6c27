"""Domain labels that survive the way from a file to the loss.

Codebases drop or refuse keys they do not know, so a label travels beside the batch, or is looked up there from
something they keep: the episode a frame belongs to.

    data   = DomainDataset({"sim": simulated, "real": recorded})        each sample with its domain and its place
    loader = DataLoader(data, batch_sampler=MixedBatchSampler(data.domain, domains=data.names, target="real", ...))
    for batch, domain, index in loader: losses = cotrain(batch, domain=domain, index=index, step=step)

    by_episode = EpisodeDomains({"sim": range(0, 900), "real": range(900, 950)})      one merged dataset
    cotrain.install(domain=by_episode)                                                batch["episode_index"] -> labels
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .faults import check_file, readable
from .hdf5 import filter_keys
from .names import listed, shown


class Labelled(NamedTuple):
    """A sample (or a collated batch), the position of its domain's name, and its place in the joined dataset."""

    sample: Any
    domain: Any
    index: Any


class DomainDataset(Dataset[Any]):
    """Named map-style datasets, one after another.

    Args:
        datasets: name -> dataset with a length; the order of the names is the order of the labels.
        key: where samples are dicts and the loop keeps unknown keys, put the label there instead of beside them.
        frames_of: dataset -> the domain that it shows without actions: {"real frames": "real"}.  Its samples have what
            the others have, any finite number in an action's place.

    `names` are the domains, `domain` (N,) the label of every sample and `has_action` (N,) whether it has an action, for
    the loss; `parts` are the datasets and `part` (N,) the dataset of every sample, for a sampler.
    """

    def __init__(
        self, datasets: Mapping[str, Any], *, key: str | None = None, frames_of: Mapping[str, str] | None = None
    ) -> None:
        for name, data in datasets.items():
            if not (isinstance(data, Sized) and hasattr(data, "__getitem__")):
                raise TypeError(
                    f"a joined dataset reads samples by position, got a {type(data).__name__} for {name!r}, which has "
                    "no length. Mix streams of samples with a loader each, and pass the label of its loader."
                )
        shown = dict(frames_of or {})
        self.datasets, self.key, self.parts = dict(datasets), key, tuple(datasets)
        self.names = tuple(name for name in self.parts if name not in shown)
        if wrong := [
            f"{name!r} of {of!r}" for name, of in shown.items() if name not in datasets or of not in self.names
        ]:
            raise ValueError(
                f"frames_of says which dataset shows frames of which other, among {', '.join(self.parts)}, got "
                f"{', '.join(wrong)}. Write frames_of={{'real frames': 'real'}} with both among the datasets."
            )
        sizes = torch.tensor([len(data) for data in datasets.values()])
        self.part = torch.arange(len(sizes)).repeat_interleave(sizes)
        self.domain = torch.tensor([self.names.index(shown.get(name, name)) for name in self.parts])[self.part]
        self.has_action = torch.tensor([name not in shown for name in self.parts])[self.part]
        self._first = sizes.cumsum(0) - sizes

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> Any:
        place = range(len(self))[int(index)]
        part, label = int(self.part[place]), int(self.domain[place])
        sample = self.datasets[self.parts[part]][place - int(self._first[part])]
        return Labelled(sample, label, place) if self.key is None else {**sample, self.key: label}


class EpisodeDomains:
    """Which domain each episode is of: labels for a dataset that was merged from several.

    Args:
        episodes: name -> the ids of its episodes, numbers (LeRobot, zarr) or names (robomimic's demo_0).
        key: where a batch holds its frames' episode ids.

    Calling it with a batch gives (b,) integer labels; `of` labels ids, `frames` a whole dataset for a sampler.
    """

    def __init__(self, episodes: Mapping[str, Iterable[Hashable]], *, key: str = "episode_index") -> None:
        self.names, self.key = tuple(episodes), key
        self._label: dict[Hashable, int] = {}
        for label, (name, ids) in enumerate(episodes.items()):
            for episode in ids:
                if self._label.setdefault(episode, label) != label:
                    both = f"{self.names[self._label[episode]]} and {name}"
                    raise ValueError(f"an episode is of one domain, got {episode!r} as {both}. List it once.")

    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        if self.key not in batch:
            raise ValueError(
                f"labels are looked up from batch[{self.key!r}], got a batch with {', '.join(map(str, batch))}. "
                "Name the key that survives the loop's preprocessing: EpisodeDomains(..., key=...)."
            )
        return self.of(batch[self.key])

    def of(self, ids: Any) -> Tensor:
        """(n,) labels of n episode ids."""
        listed = ids.detach().cpu().reshape(-1).tolist() if isinstance(ids, Tensor) else list(ids)
        missing = [episode for episode in listed if episode not in self._label]
        if missing:
            raise ValueError(
                f"every episode has a domain, got {missing[0]!r} (and {len(missing) - 1} more frames) of none of "
                f"{', '.join(self.names)}. Add it to the mapping."
            )
        return torch.tensor([self._label[episode] for episode in listed], dtype=torch.long)

    @classmethod
    def of_filter_keys(cls, path: str | Path, filters: Mapping[str, str]) -> EpisodeDomains:
        """The domains of a robomimic file whose filter keys (`mask/<key>`) list the demonstrations of each."""
        import h5py  # type: ignore[import-untyped, unused-ignore]  # only those who read robomimic files need it

        path = Path(path)
        with readable(path, "robomimic HDF5"), h5py.File(check_file(path), "r") as file:
            held = filter_keys(path, file)
        absent = [key for key in filters.values() if key not in held]
        if absent:
            text = f"a filter key lists demonstrations, got {shown(absent[0])!r}"
            raise ValueError(f"{text}; {shown(path)} holds {listed(held)}.")
        return cls({name: held[key] for name, key in filters.items()})


def episode_of_frames(ends: Any) -> Tensor:
    """(frames,) the episode of each frame, from the (episodes,) ends a zarr replay buffer keeps."""
    ends = torch.as_tensor([int(end) for end in ends])
    if len(ends) and (ends.diff(prepend=ends.new_zeros(1)) < 0).any():
        raise ValueError(f"episode ends rise through a buffer, got {ends.tolist()[:8]}. Pass meta/episode_ends.")
    return torch.searchsorted(ends, torch.arange(int(ends[-1]) if len(ends) else 0), right=True)
