"""One layer of one checkpoint, and its row in a table."""

from __future__ import annotations

from dataclasses import dataclass

from ...measures.layer import Diagnosis
from .embedding import Embedding

HEADINGS = ("regime", "W debiased", "u", "probe", "W", "x split-half", "SW", "GW", "mixing", "MMD p", "linear")


@dataclass(frozen=True)
class Layer:
    """One layer of one checkpoint: its diagnosis, or the sentence that says why there is none."""

    checkpoint: str
    name: str
    ratio: float | None = None
    diagnosis: Diagnosis | None = None
    error: str | None = None
    embeddings: tuple[Embedding, ...] = ()

    @property
    def title(self) -> str:
        """Checkpoint and layer in a line."""
        return f"{self.checkpoint} · {self.name}" if self.checkpoint else self.name

    @property
    def regime(self) -> str:
        """The regime's name, or a dash."""
        return self.diagnosis.regime.name if self.diagnosis and self.diagnosis.regime else "-"

    @property
    def transport(self) -> float | None:
        """The debiased Wasserstein distance in units of the pooled spread."""
        distance = self.diagnosis.distances.get("wasserstein") if self.diagnosis else None
        return None if distance is None else distance.debiased

    @property
    def accuracy(self) -> float | None:
        """The probe's held-out accuracy."""
        return self.diagnosis.probe.accuracy if self.diagnosis and self.diagnosis.probe else None

    def cells(self) -> list[str]:
        """The row of the table under HEADINGS."""
        d = self.diagnosis
        if d is None:
            return ["failed"] + ["-"] * (len(HEADINGS) - 1)
        w, sliced, gromov = (d.distances.get(n) for n in ("wasserstein", "sliced_wasserstein", "gromov_wasserstein"))
        between = () if d.regime is None else d.regime.between
        return [
            self.regime if len(between) < 2 else f"{self.regime}: {' or '.join(between)}",
            "-" if w is None else _with_interval(w.debiased, w.debiased_interval),
            "-" if d.regime is None else f"{d.regime.distance[0]:.2f}",
            "-" if d.probe is None else _with_interval(d.probe.accuracy, d.probe.interval),
            "-" if w is None else f"{w.value:.3f} ± {w.standard_error:.3f}",
            "-" if w is None else f"{w.multiple:.2f}",
            "-" if sliced is None else f"{sliced.value:.3f}",
            "-" if gromov is None else f"{gromov.value:.3f}",
            "-" if d.mixing is None else f"{d.mixing:.2f}",
            "-" if d.kernel is None else f"{d.kernel.p_value:.3f}",
            "-" if d.linear_probe is None else f"{d.linear_probe.accuracy:.3f}",
        ]


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
