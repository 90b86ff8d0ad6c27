"""
The toy: two spirals, two planes
================================

Lei et al. 2026 explain the regimes with a toy: two spirals of actions, one shifted, over inputs in two planes. How far
apart the planes are decides what co-training does. The share of the optimal score that the target owns shows why: a
closed form, no training.
"""

import matplotlib.pyplot as plt
import torch

from cotrain_bench.toy import curves
from cotrain_bench.toy.experiment import target_mass

drawn = curves.data(seed=0)
figure, (top, below) = plt.subplots(2, 1, figsize=(5.6, 8), layout="constrained")
u = torch.linspace(0, 1, 300)
top.plot(*curves.curve(u, target=False).T, color="#0072B2", label="source's actions")
top.plot(
    *curves.curve(u, target=True).T,
    color="#D55E00",
    linestyle="--",
    label="target's actions",
)
top.set(xlabel="action 1 (no unit)", ylabel="action 2 (no unit)", aspect="equal")
top.legend(fontsize=9)

distances = torch.logspace(-2, 0.5, 12).tolist()
for ratio, style in ((0.5, "-"), (0.1, "--"), (0.01, ":")):
    shares = [
        target_mass(drawn, distance, ratio).mean().item() for distance in distances
    ]
    below.plot(distances, shares, style, color="black", label=f"ratio {ratio:g}")
below.set(
    xscale="log",
    xlabel="distance between the planes (no unit)",
    ylabel="target's share of the optimal score",
)
below.set_ylim(0, 1.05)
below.legend()
plt.show()

# %%
# Close planes: the ratio decides what the target owns, so both domains are mixed. Far planes: it owns everything, so
# the source teaches nothing. In between the source helps. 3,000 source and 30 target samples, one draw.
