"""
Reading a report
================

`cotrain diagnose` writes a page with one picture. This runs it on two layers of a policy that never was: `early` lies
far apart, `late` is close and can be read. 24 source and 12 target episodes of ten rows.
"""

import contextlib
import io
import re
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cotrain_losses.cli.diagnose import diagnose

rng = np.random.default_rng(0)
rows = {"source": 240, "target": 120}
files = {}
for domain, n in rows.items():
    far, mark = (6.0, 1.0) if domain == "target" else (0.0, 0.0)
    early, late = rng.normal(size=(n, 8)), rng.normal(size=(n, 8))
    early[:, 0] += far
    late[:, 1] = 0.1 * late[:, 1] + mark
    files[domain] = {"early": early, "late": late, "episodes": np.arange(n) // 10}

with tempfile.TemporaryDirectory() as folder:
    paths = {domain: Path(folder, f"{domain}.npz") for domain in rows}
    for domain, path in paths.items():
        np.savez(path, **files[domain])
    given = {domain: [path] for domain, path in paths.items()}
    with (
        contextlib.redirect_stdout(io.StringIO()) as said,
        contextlib.redirect_stderr(io.StringIO()),
    ):
        diagnose(**given, out=Path(folder, "diagnosis"), rows=40, repeats=1)
    picture = plt.imread(Path(folder, "diagnosis", "diagnosis.png"))

figure, axis = plt.subplots(figsize=(10, 10 * picture.shape[0] / picture.shape[1]))
axis.imshow(picture)
axis.axis("off")
figure.subplots_adjust(0, 0, 1, 1)
plt.show()

# %%
# What it says on the terminal, below its table:

text = said.getvalue()
sentences = re.sub(r"\s+", " ", text[text.index("early: disjoint.") :])
print(textwrap.fill(sentences, 84))
