"""Every sample keeps its domain: joined datasets, merged ones, filter keys and replay buffers."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from cotrain_losses import CoTrain, DomainGuidance, Method, MixedBatchSampler, Seam
from cotrain_losses.datasets.labels import DomainDataset, EpisodeDomains, episode_of_frames
from cotrain_losses.mixing import ratio_weights
from tests.toy import Policy, batch

SIZES = st.lists(st.integers(0, 5), min_size=2, max_size=4)


@given(SIZES)
def test_a_joined_dataset_is_its_parts_one_after_another(sizes: list[int]) -> None:
    parts = {f"d{k}": [(k, i) for i in range(size)] for k, size in enumerate(sizes)}
    data = DomainDataset(parts)
    expected = [(k, i) for k, size in enumerate(sizes) for i in range(size)]
    assert [data[i].sample for i in range(len(data))] == expected
    assert [data[i].domain for i in range(len(data))] == [k for k, _ in expected] == data.domain.tolist()
    assert [data[i].index for i in range(len(data))] == list(range(len(data)))
    if expected:
        assert data[-1].sample == expected[-1]
    with pytest.raises(IndexError):
        data[len(data)]


def test_two_named_datasets_reach_the_loss_in_exact_shares() -> None:
    rows = [{name: x[i] for name, x in batch().items()} for i in range(6)]
    data = DomainDataset({"sim": rows * 3, "real": rows[:2]})
    sampler = MixedBatchSampler(data.domain, domains=data.names, target="real", batch_size=4, ratio=0.25)
    method = Method(guidance=DomainGuidance(4), weights=lambda s: 1.0 + (s.index >= 18).double())
    seam = Seam(head="head", condition="condition")
    cotrain = CoTrain(Policy(), method, seam=seam, domains=data.names, target="real")
    for sample, domain, index in DataLoader(data, batch_sampler=sampler):
        losses = cotrain(sample, domain=domain, index=index)
        assert losses.counts == {"sim": 3, "real": 1} and (index[domain == 1] >= 18).all()


def test_a_label_can_go_into_the_sample() -> None:
    data = DomainDataset({"sim": [{"x": 1}], "real": [{"x": 2}]}, key="domain")
    assert data[1] == {"x": 2, "domain": 1}


class Stream(IterableDataset[Any]):
    def __init__(self, label: int) -> None:
        self.label = label

    def __iter__(self) -> Any:
        return iter([(torch.full((2,), float(self.label)), self.label)] * 8)


def test_a_stream_has_no_places_and_is_mixed_by_a_loader_each() -> None:
    with pytest.raises(TypeError, match="a loader each"):
        DomainDataset({"sim": Stream(0), "real": TensorDataset(torch.zeros(2))})
    loaders = DataLoader(Stream(0), batch_size=6), DataLoader(Stream(1), batch_size=2)
    (x, source), (y, target) = (next(iter(loader)) for loader in loaders)
    domain = torch.cat([source, target]).bool()
    weight = ratio_weights(domain, ratio=0.5, share=0.25)  # drawn at 1 in 4, meant at 1 in 2
    assert torch.cat([x, y])[domain].eq(1).all()
    assert weight[domain].sum() == pytest.approx(float(weight[~domain].sum()))


def test_episodes_of_a_merged_dataset_have_domains() -> None:
    by_episode = EpisodeDomains({"sim": range(3), "real": [7, 3]})
    assert by_episode({"episode_index": torch.tensor([3, 0, 7, 2])}).tolist() == [1, 0, 1, 0]
    assert by_episode.of([]).dtype == torch.long
    with pytest.raises(ValueError, match=r"got 9 \(and 0 more frames\)"):
        by_episode.of([0, 9])
    with pytest.raises(ValueError, match="batch with action"):
        by_episode({"action": torch.zeros(2)})
    with pytest.raises(ValueError, match="2 as sim and real"):
        EpisodeDomains({"sim": range(3), "real": [2]})


def test_filter_keys_of_a_robomimic_file_name_the_domains(tmp_path: Any) -> None:
    path = tmp_path / "demos.hdf5"
    with h5py.File(path, "w") as file:
        file["mask/simulated"] = np.array([b"demo_0", b"demo_2"])
        file["mask/recorded"] = np.array([b"demo_1"])
    by_demo = EpisodeDomains.of_filter_keys(path, {"sim": "simulated", "real": "recorded"})
    assert by_demo.of(["demo_1", "demo_0", "demo_2"]).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="holds recorded, simulated"):
        EpisodeDomains.of_filter_keys(path, {"sim": "other"})


@given(st.lists(st.integers(0, 4), max_size=5))
def test_the_episodes_of_frames_follow_from_their_ends(lengths: list[int]) -> None:
    ends = np.cumsum(lengths)
    expected = [episode for episode, length in enumerate(lengths) for _ in range(length)]
    assert episode_of_frames(ends).tolist() == expected


def test_a_replay_buffer_in_zarr_is_labelled_by_episode(tmp_path: Any) -> None:
    root = zarr.open_group(str(tmp_path / "buffer.zarr"), mode="w")
    root["meta/episode_ends"] = np.array([2, 5, 6])
    by_episode = EpisodeDomains({"sim": [0, 2], "real": [1]})
    assert by_episode.of(episode_of_frames(root["meta/episode_ends"][:])).tolist() == [0, 0, 1, 1, 1, 0]
    with pytest.raises(ValueError, match="ends rise"):
        episode_of_frames([3, 1])
