"""The LeRobot policy type `cotrain`: another policy, co-trained by a method and guided while it acts."""

from .configuration_cotrain import CotrainConfig
from .modeling_cotrain import CotrainPolicy
from .processor_cotrain import make_cotrain_pre_post_processors

__all__ = ["CotrainConfig", "CotrainPolicy", "make_cotrain_pre_post_processors"]
