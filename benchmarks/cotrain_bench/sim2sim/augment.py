"""The policy that sees, with pictures that training changes at random: colour and crop.

    pixel  ->  gain_c pixel + offset        a gain of each channel and one brightness, drawn for each sample and view
    view   ->  its window, moved by up to SHIFT pixels, edges repeated        (DrQ: Kostrikov et al., ICLR 2021)

Both observations of a sample get the same change, which keeps the motion between them.  Evaluation changes nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .policies import Spaces
from .policy import ImageFlowPolicy, PictureEncoder, image_flow

SHIFT = 4  # pixels
GAIN, OFFSET = 0.5, 0.3  # gains lie in [1 - GAIN, 1 + GAIN], offsets in [-OFFSET, OFFSET], of pixels in [-.5, .5]


class AugmentedEncoder(PictureEncoder):
    """A `PictureEncoder` that changes its pictures while it trains."""

    def prepared(self, pictures: Tensor) -> Tensor:
        return random_shift(color_jitter(pictures)) if self.training else pictures


def color_jitter(pictures: Tensor) -> Tensor:
    """A gain for each channel and an offset for all, drawn for each sample."""
    b, channels = pictures.shape[:2]
    gain = 1 + GAIN * (2 * torch.rand(b, 3, device=pictures.device) - 1).repeat(1, channels // 3)
    offset = OFFSET * (2 * torch.rand(b, 1, device=pictures.device) - 1)
    return gain[..., None, None] * pictures + offset[..., None, None]


def random_shift(pictures: Tensor) -> Tensor:
    """Whole pixels up, down, left and right, drawn for each sample; the nearest pixel stands outside the edge."""
    (b, _, side, _), on = pictures.shape, pictures.device
    padded = F.pad(pictures, (SHIFT,) * 4, mode="replicate")
    rows, columns = (torch.randint(2 * SHIFT + 1, (b, 1), device=on) + torch.arange(side, device=on) for _ in range(2))
    sample = torch.arange(b, device=on)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def augmented_flow(spaces: Spaces) -> ImageFlowPolicy:
    """The suite's own policy that sees, with the same first weights, trained on changed pictures."""
    policy = image_flow(spaces)
    plain, policy.encoder = policy.encoder, AugmentedEncoder(policy.pixels, spaces.steps, policy.width)
    policy.encoder.load_state_dict(plain.state_dict())
    return policy
