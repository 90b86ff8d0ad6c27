"""Other libraries' estimators, one call per process: `python peers.py NAME INPUT.npz`, an answer in JSON.

This file imports nothing of cotrain_losses, so that any interpreter that has the library can run it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

PEERS = {name: name.split()[0] for name in ("densratio uLSIF", "densratio KLIEP", "skada KMM", "skada Gaussian")}
"""a peer's name -> its library"""


def weights(name: str, source: Any, target: Any, bandwidths: Any, penalties: Any) -> Any:
    """The peer's ratio at the source samples."""
    if name.startswith("densratio"):
        from densratio import densratio

        method, sigma = name.split()[1], bandwidths.tolist()
        extra = {"lambda_": penalties.tolist()} if method == "uLSIF" else {}
        ratio = densratio(target, source, method=method, sigma=sigma, verbose=False, **extra)
        return ratio.compute_density_ratio(source)
    import numpy as np
    import skada

    adapter = {"skada KMM": skada.KMMReweightAdapter, "skada Gaussian": skada.GaussianReweightAdapter}[name]()
    pooled, domain = np.concatenate([source, target]), np.r_[np.ones(len(source)), -2 * np.ones(len(target))]
    adapter.fit(pooled, sample_domain=domain)
    return adapter.compute_weights(pooled, sample_domain=domain)[: len(source)]


def main() -> None:
    """Measure one call in CPU time and print the weights."""
    import numpy as np

    warnings.simplefilter("ignore")
    given = np.load(sys.argv[2])
    begin = time.process_time()
    ratio = weights(sys.argv[1], given["source"], given["target"], given["bandwidths"], given["penalties"])
    seconds = time.process_time() - begin
    json.dump({"seconds": seconds, "weights": np.asarray(ratio, dtype=float).ravel().tolist()}, sys.stdout)


if __name__ == "__main__":
    main()
