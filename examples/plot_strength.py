"""
What a signed strength does
===========================

The strength before a domain classifier decides what the features do: a positive one makes the domain easier to read,
zero only watches, a negative one hides it. 96 source and 32 target rows, one seed.
"""

import matplotlib.pyplot as plt
import torch

import cotrain_losses as ctl

COLOURS = {"source": "#0072B2", "target": "#D55E00"}
torch.manual_seed(0)
start = {"source": 0.6 * torch.randn(96, 2), "target": 0.6 * torch.randn(32, 2) + 0.7}


def trained(strength, steps=150):
    """Features moved by the strength times the classifier's gradient; the losses."""
    torch.manual_seed(1)
    term = ctl.DomainClassifier(width=2, hidden=(32,))
    rows = {name: value.clone().requires_grad_() for name, value in start.items()}
    parts = [
        {"params": term.parameters(), "lr": 1e-2},
        {"params": rows.values(), "lr": 2e-2},
    ]
    optimizer, losses = torch.optim.Adam(parts), []
    for _ in range(steps):
        optimizer.zero_grad()
        (strength * term)(rows["source"], rows["target"]).backward()
        optimizer.step()
        losses.append(term(rows["source"], rows["target"]).item())
    return {name: value.detach() for name, value in rows.items()}, losses


figure, axes = plt.subplots(2, 2, figsize=(5.6, 5.8), layout="constrained")
axes = axes.ravel()
for axis, (strength, style) in zip(
    axes, ((1.0, "-"), (0.0, "--"), (-1.0, ":")), strict=False
):
    rows, losses = trained(strength)
    for name, marker in (("source", "o"), ("target", "^")):
        axis.scatter(
            *rows[name].T, s=12, color=COLOURS[name], marker=marker, label=name
        )
    axis.set(
        title=f"strength {strength:g}",
        xlabel="feature 1 (no unit)",
        ylabel="feature 2 (no unit)",
    )
    axes[3].plot(losses, style, color="black", label=f"{strength:g}")
axes[0].legend(fontsize=9)
axes[3].axhline(0.693, color="#999999", linewidth=1)
axes[3].text(
    150, 0.86, "grey: log 2, unreadable", ha="right", fontsize=9, color="#666666"
)
axes[3].set(
    title="the classifier", xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, 0.95)
)
figure.legend(
    *axes[3].get_legend_handles_labels(),
    title="strength (the classifier)",
    loc="outside lower center",
    ncols=3,
)
plt.show()

# %%
# The classifier itself learns at the same rate in all three: the sign and the size act on the features alone. That is
# gradient reversal, as a factor.
