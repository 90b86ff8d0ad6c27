"""
Two Gaussians under each term
=============================

A term asks the encoder to move features. Here there is no encoder: 64 target rows move down the gradient of one
term, towards 64 source rows that stay. Each picture shows the path of the target's mean and where its rows end.
One draw.
"""

import matplotlib.pyplot as plt
import torch

import cotrain_losses as ctl
from cotrain_losses.terms import CORAL, EnergyDistance

terms = {
    "MMD": (ctl.MMD(), 50.0),
    "EnergyDistance": (EnergyDistance(), 30.0),
    "CORAL": (CORAL(), 30.0),
    "CORAL(mean=True)": (CORAL(mean=True), 30.0),
    "Sinkhorn": (ctl.Sinkhorn(blur=0.05), 20.0),
    "OptimalTransport(reg=1)": (ctl.OptimalTransport(reg=1.0), 10.0),
}


def moved(term, rate, source, target, steps=60):
    """The target after `steps` of descent on the term, and the path of its mean."""
    rows, path = target.clone(), [target.mean(0)]
    for _ in range(steps):
        rows.requires_grad_()
        (slope,) = torch.autograd.grad(term(source, rows), rows)
        rows = (rows - rate * slope).detach()
        path.append(rows.mean(0))
    return rows, torch.stack(path)


torch.manual_seed(0)
source = torch.randn(64, 2) @ torch.tensor([[1.0, 0.6], [0.0, 0.5]])
target = 0.5 * torch.randn(64, 2) + torch.tensor([3.0, 2.0])

figure, axes = plt.subplots(
    3, 2, figsize=(5.6, 8), sharex=True, sharey=True, layout="constrained"
)
for axis, (name, (term, rate)) in zip(axes.flat, terms.items(), strict=True):
    rows, path = moved(term, rate, source, target)
    axis.scatter(*source.T, s=12, color="#0072B2", marker="o", label="source, fixed")
    axis.scatter(*target.T, s=12, color="#BBBBBB", marker="^", label="target, before")
    axis.scatter(
        *rows.T, s=12, color="#D55E00", marker="^", label="target, after 60 steps"
    )
    axis.plot(*path.T, color="black", linewidth=1, label="path of the target's mean")
    axis.set_title(name, fontsize=10)
for axis in axes[2]:
    axis.set_xlabel("feature 1 (no unit)")
for axis in axes[:, 0]:
    axis.set_ylabel("feature 2 (no unit)")
figure.legend(
    *axes[0, 0].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=2,
    fontsize=10,
)
plt.show()

# %%
# CORAL matches covariances and leaves the mean where it is. Entropic transport at a large `reg` draws all rows
# together, since its plan couples each target row with all source rows: the Sinkhorn divergence takes this off.
