"""The domain probe behind a balanced strength: held-out accuracy on rows of two domains."""

from __future__ import annotations

import math

import pytest
import torch

from tests.strengths import clouds, read


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 4.0])
def test_the_probe_reads_two_gaussians_nearly_as_well_as_can_be(shift: float) -> None:
    best = 0.5 * (1 + math.erf(shift / 2 / math.sqrt(2)))
    found = [read(*clouds(seed, 256, shift)) for seed in range(10)]
    error = math.sqrt(best * (1 - best) / (10 * 512)) + 1e-3
    mean = sum(found) / len(found)
    assert best - 0.03 - 4 * error < mean < best + 4 * error


def test_the_probe_sees_what_no_plane_divides() -> None:
    angle = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    assert read(ring, 3 * ring) > 0.98


def test_frames_of_an_episode_are_never_in_both_halves() -> None:
    generator = torch.Generator().manual_seed(0)
    names = torch.arange(16).repeat_interleave(16)[torch.randperm(256, generator=generator)]
    sides = []
    for _ in range(2):  # each episode a place of its own; the places of both domains come from one distribution
        places = 5 * torch.randn(16, 8, generator=generator)
        sides.append(places[names] + 0.01 * torch.randn(256, 8, generator=generator))
    assert read(*sides) > 0.99
    assert read(*sides, episodes=names) < 0.8


def test_constant_features_are_read_at_chance() -> None:
    assert read(torch.ones(20, 3), torch.ones(30, 3)) == 0.5
