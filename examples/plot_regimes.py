"""
The three regimes
=================

Two numbers decide the regime of a layer: how far apart the domains lie, and how well the domain can be read. Here are
three layers of eight features for which the answer is known. 24 source and 12 target episodes of ten rows, one draw.
"""

import matplotlib.pyplot as plt
import torch

from cotrain_losses.measures import diagnosis

torch.manual_seed(0)
episodes = {
    "source_groups": torch.arange(240) // 10,
    "target_groups": torch.arange(120) // 10,
}


def layer(shift, mark):
    """Target feature 0 is shifted by `shift`; feature 1 tells the domain if `mark`."""
    source, target = torch.randn(240, 8), torch.randn(120, 8)
    target[:, 0] += shift
    if mark:
        source[:, 1], target[:, 1] = 0.1 * source[:, 1], 0.1 * target[:, 1] + 1.0
    return source, target


layers = {
    "far apart": layer(8.0, False),
    "close, with a mark": layer(0.0, True),
    "the same": layer(0.0, False),
}
figure, axes = plt.subplots(
    3, 1, figsize=(5.6, 8.4), sharex=True, sharey=True, layout="constrained"
)
for axis, (name, (source, target)) in zip(axes, layers.items(), strict=True):
    found = diagnosis(source, target, **episodes, rows=40, repeats=1)
    axis.scatter(
        source[:, 0], source[:, 1], s=8, color="#0072B2", marker="o", label="source"
    )
    axis.scatter(
        target[:, 0], target[:, 1], s=8, color="#D55E00", marker="^", label="target"
    )
    low, high = found.probe.interval
    axis.set_title(
        f"{name}: {found.regime.name}\nu = {found.regime.distance[0]:.2f}, "
        f"probe {found.probe.accuracy:.2f} [{low:.2f}, {high:.2f}]",
        fontsize=10,
    )
    axis.set_ylabel("feature 1 (no unit)")
axes[2].set_xlabel("feature 0 (no unit)")
axes[0].legend()
plt.show()

# %%
# `u` is the distance between the domains in units of the distance between two target rows; the probe's accuracy is on
# episodes that it has not seen, with its 95 % interval.
