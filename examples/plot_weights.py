"""
Importance weights
==================

A density ratio says how much a source sample should count: how likely it is in the target against how likely it is in
the source. Five estimators beside the ratio that is known here. 400 source and 150 target samples, one draw.
"""

import matplotlib.pyplot as plt
import torch

from cotrain_losses.importance import (
    KLIEP,
    ULSIF,
    GaussianRatio,
    LogisticRatio,
    RuLSIF,
    effective_sample_size,
)

torch.manual_seed(0)
source, target = torch.randn(400, 1), 0.7 * torch.randn(150, 1) + 1.0
x = torch.linspace(-2.5, 3.0, 200)[:, None]
normal = torch.distributions.Normal
true = (normal(1.0, 0.7).log_prob(x) - normal(0.0, 1.0).log_prob(x)).exp()
estimators = {
    "ULSIF": (ULSIF(centres=50), "#0072B2", "-"),
    "RuLSIF": (RuLSIF(centres=50), "#56B4E9", "--"),
    "KLIEP": (KLIEP(centres=50, iterations=1000), "#009E73", "-."),
    "logistic": (LogisticRatio(degree=2), "#CC79A7", ":"),
    "Gaussian": (GaussianRatio(), "#E69F00", (0, (5, 1, 1, 1))),
}

figure, axis = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
axis.plot(x, true, color="black", linewidth=3, alpha=0.3, label="true ratio")
for name, (estimator, colour, style) in estimators.items():
    ratio = estimator.fit(source, target)
    left = effective_sample_size(ratio.at_source)
    axis.plot(
        x,
        ratio(x),
        color=colour,
        linestyle=style,
        label=f"{name}: {left:.0f} of 400 samples left",
    )
axis.set(xlabel="x (no unit)", ylabel="target density / source density", ylim=(0, 6))
axis.legend(fontsize=8)
plt.show()

# %%
# The *effective sample size* is what the weights leave of the source. RuLSIF estimates a flatter ratio on purpose: it
# is bounded, so it leaves more. A ratio that leaves 4 % of the source is a smaller dataset, not a better one.
