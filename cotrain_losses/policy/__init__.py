"""Where a method meets a policy nobody edits: `CoTrain`, the seam, and the codebases that are known."""

from .collect import Collected, collect_features
from .cotrain import CoTrain
from .losses import Losses
from .scripts import after
from .seam import Seam
from .watch import Watch, tensorboard

__all__ = ["CoTrain", "Collected", "Losses", "Seam", "Watch", "after", "collect_features", "tensorboard"]
