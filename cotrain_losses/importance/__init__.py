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

__all__ = ["DensityRatio", "Estimator", "ULSIF", "RuLSIF", "KLIEP", "KMM", "LogisticRatio", "GaussianRatio"]
__all__ += ["effective_sample_size", "normalised_weights"]
__all__ += ["RatioWeights", "TableWeights", "TimeWindow", "ProductWeights", "GroupDRO", "DiscrepancyWeights"]
__all__ += ["EmpiricalMixture", "score_weights", "target_contribution", "denoised", "log_density", "optimal_score"]
__all__ += ["empirical_overlap", "overlap_coefficient", "relative_contribution"]
