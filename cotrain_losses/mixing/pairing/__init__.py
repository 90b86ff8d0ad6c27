"""Pairing: which source frames show the same moment of a task as a target frame.

An alignment of two demonstrations is found once, before training.  `PairedSampler` draws matched rows from alignments;
`AlignedPairs` and `NearestByDTW` make matched rows cheap to couple: they are the `pairing` of `OptimalTransport`.
"""

from .alignments import Alignment, alignments, dtw_distances
from .factors import AlignedPairs, NearestByDTW
from .sampler import PairedSampler

__all__ = ["AlignedPairs", "Alignment", "NearestByDTW", "PairedSampler", "alignments", "dtw_distances"]
