"""Importance: how much each sample counts.

density ratios     r(x) = p_target / p_source          ULSIF, RuLSIF, KLIEP, KMM, LogisticRatio, GaussianRatio
score weights      g, what each sample contributes to the optimal co-trained score
weights in training, `Method(weights=...)`             RatioWeights, TableWeights, TimeWindow, GroupDRO, ...
"""

from .groups import GroupDRO
from .hooks import ProductWeights, RatioWeights, TableWeights, TimeWindow
from .kliep import KLIEP
from .kmm import KMM
from .least_squares import ULSIF, RuLSIF
from .overlap import empirical_overlap, overlap_coefficient, relative_contribution
from .parametric import GaussianRatio, LogisticRatio
from .ratio import DensityRatio, Estimator, effective_sample_size, normalised_weights
from .reweighting import DiscrepancyWeights
from .score import EmpiricalMixture, denoised, log_density, optimal_score, score_weights, target_contribution

__all__ = [
    "DensityRatio",
    "DiscrepancyWeights",
    "EmpiricalMixture",
    "Estimator",
    "GaussianRatio",
    "GroupDRO",
    "KLIEP",
    "KMM",
    "LogisticRatio",
    "ProductWeights",
    "RatioWeights",
    "RuLSIF",
    "TableWeights",
    "TimeWindow",
    "ULSIF",
    "denoised",
    "effective_sample_size",
    "empirical_overlap",
    "log_density",
    "normalised_weights",
    "optimal_score",
    "overlap_coefficient",
    "relative_contribution",
    "score_weights",
    "target_contribution",
]
