"""Diagnostics: is a layer disjoint, structured or overlapping, and what does that suggest?

    alignment        how far apart the domains' features lie          alignment.py, neighbours.py
    discernibility   how well the domain can be read from them        discernibility.py
    regime           what the two say together                        regime.py
    action side      losses, gradients and actions of each domain     action.py
    while training   a dict for any logger, at an interval            watch.py
    after training   features of a policy, their files and report      collect.py, features.py, report.py

Lei et al., "A Mechanistic Analysis of Sim-and-Real Co-Training in Generative Robot Policies", ICML 2026: a policy
transfers where the domains are close, yet distinguishable.
"""

from .action import ActionGap, DomainLosses, action_gap, domain_losses, target_contribution
from .alignment import Estimate, pooled_spread, wasserstein
from .collect import Collected, collect_features
from .discernibility import Reading
from .features import Features
from .layer import Diagnosis, diagnosis
from .neighbours import KernelTest
from .regime import Regime
from .watch import Watch, tensorboard

__all__ = [
    "ActionGap",
    "Collected",
    "Diagnosis",
    "DomainLosses",
    "Estimate",
    "Features",
    "KernelTest",
    "Reading",
    "Regime",
    "Watch",
    "action_gap",
    "collect_features",
    "diagnosis",
    "domain_losses",
    "pooled_spread",
    "target_contribution",
    "tensorboard",
    "wasserstein",
]
