"""
Ratio curves
============

The *ratio* is the share of target samples in a batch. It decides how often each frame is seen, and how much one target
frame weighs against one source frame.
"""

import matplotlib.pyplot as plt
import numpy as np

from cotrain_losses.mixing import crossing_ratio, natural_ratio, ratio_range

TARGET, SOURCE, BATCH = 2_000, 60_000, 64
ratios = np.geomspace(0.005, 0.9, 100)
passes = np.maximum(1.0, ratios / (1 - ratios) * SOURCE / TARGET)
few = (1 - ratios) ** BATCH + BATCH * ratios * (1 - ratios) ** (BATCH - 1)

figure, (top, below) = plt.subplots(2, 1, figsize=(5.6, 6.4), layout="constrained")
top.plot(ratios, passes, color="#0072B2")
top.set(
    xscale="log",
    yscale="log",
    xlabel="ratio",
    ylabel="passes over the target per epoch",
)
below.plot(ratios, 100 * few, color="#D55E00")
below.set(xscale="log", xlabel="ratio", ylabel="batches with < 2 target rows (%)")
low, high = ratio_range(source=SOURCE, target=TARGET)
for axis in (top, below):
    axis.axvspan(low, high, color="#009E73", alpha=0.15, label="search range")
    axis.axvline(
        natural_ratio(source=SOURCE, target=TARGET),
        color="black",
        linestyle="--",
        label="natural ratio",
    )
    axis.axvline(
        crossing_ratio(source=SOURCE, target=TARGET),
        color="black",
        linestyle=":",
        label="crossing ratio",
    )
top.legend()
plt.show()

# %%
# An epoch passes the source once. 2,000 target and 60,000 source frames, closed forms. The lower curve is of
# independent draws; `MixedBatchSampler` gives every batch the whole number of target rows next to its share.
