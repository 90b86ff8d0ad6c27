"""
Guidance scales
===============

Guidance combines the prediction with the domain label and the one without: `without + scale * (with - without)`. Here
both are exact: the optimal flow of the target's actions alone, and of both domains' at ratio 0.3.
"""

import matplotlib.pyplot as plt
import torch

from cotrain_losses.guidance import guide
from cotrain_losses.importance import EmpiricalMixture, denoised

torch.manual_seed(0)
actions = torch.cat([0.3 * torch.randn(300, 1) - 1.5, 0.3 * torch.randn(100, 1) + 1.5])
is_target = torch.arange(400) >= 300
with_label, without = (
    EmpiricalMixture(actions, is_target, ratio=ratio) for ratio in (1.0, 0.3)
)


def sampled(scale, n=1500, steps=30):
    """Actions of the guided flow from noise at x = 1 to actions at x = 0."""
    a = torch.randn(n, 1, dtype=torch.float64)
    for x in torch.linspace(1.0, 0.05, steps).tolist():
        means = (
            denoised(a, mixture, alpha=1 - x, sigma=x)
            for mixture in (with_label, without)
        )
        velocity = (a - guide(*means, scale)) / x
        a = a - velocity * 0.95 / steps
    return a.squeeze(1)


figure, axes = plt.subplots(
    2, 2, figsize=(5.6, 4.8), sharex=True, sharey=True, layout="constrained"
)
for axis, scale in zip(axes.flat, (0.0, 0.5, 1.0, 2.0), strict=True):
    axis.hist(
        sampled(scale).numpy(),
        bins=40,
        range=(-3, 3),
        density=True,
        color="#0072B2",
        label="sampled",
    )
    axis.axvline(-1.5, color="#999999", linestyle="--", label="source's action")
    axis.axvline(1.5, color="#D55E00", label="target's action")
    axis.set_title(f"scale {scale:g}")
for axis in axes[1]:
    axis.set_xlabel("action (no unit)")
for axis in axes[:, 0]:
    axis.set_ylabel("density")
figure.legend(
    *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3
)
plt.show()

# %%
# Scale 0 is the mixture, scale 1 the target alone. Between them some samples still follow the source; beyond 1 they
# are pushed past the target's own actions. 1,500 samples a scale, one seed.
