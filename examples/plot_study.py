"""
One study: which mixing ratio is best?
======================================

Every cell of a study is one trained and evaluated policy, and all of them are kept as a table in `docs/studies`. This
reads the study of ratios and draws it again.
"""

import csv
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = next(
    path
    for path in [Path.cwd(), *Path.cwd().parents]
    if (path / "docs" / "studies").is_dir()
)
with open(ROOT / "docs" / "studies" / "ratios" / "results.csv", newline="") as file:
    rows = list(csv.DictReader(file))

success = defaultdict(list)
for row in rows:
    success[row["gap"], float(row["ratio"])].append(float(row["success"]))

figure, axis = plt.subplots(figsize=(5.6, 4), layout="constrained")
for gap, colour, marker in (("visual", "#0072B2", "o"), ("hard", "#D55E00", "^")):
    ratios = sorted(ratio for name, ratio in success if name == gap)
    values = np.array([success[gap, ratio] for ratio in ratios])
    places = np.arange(len(ratios))
    axis.plot(places, values.mean(1), color=colour, label=f"{gap} gap: mean")
    axis.scatter(
        np.repeat(places, values.shape[1]),
        values.ravel(),
        s=12,
        color=colour,
        marker=marker,
        alpha=0.6,
    )
axis.set_xticks(places, [f"{ratio:g}" for ratio in ratios])
axis.set(
    xlabel="ratio (share of target samples; not to scale)",
    ylabel="success over 100 episodes",
    ylim=(0, 1.03),
)
axis.legend(fontsize=8)
plt.show()

# %%
# Points are five pairs, each one draw of demonstrations with one training seed; there are no intervals here, the
# page of studies has them. Made by `cotrain bench sim2sim --study ratios --preset standard`.
