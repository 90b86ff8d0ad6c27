"""Published methods, one expression each: a ratio, a regularizer, a guidance, weights.

Defaults are the source's where it gives them, said in each docstring; a strength means another thing
for every term, width and feature scale, so look at `losses.raw` before trusting any.  `ratio` is the target's
share throughout.  docs/special-cases.md shows each expression beside the formula it was published as, and how
closely the two agree; `structured` alone is published nowhere (docs/balance.md).
"""

from .adversarial import adda, cdan, dann, probe, tzeng, wei_adversarial
from .guidance import cfg, cfg_adda, one_hot, structured, wei_cfg
from .kernels import coral, dan, energy, jan, mmd, wei_mmd
from .mixing import ambient, beacon, cotraining, importance, real_only, remix, reweighted
from .transport import LabelCost, deepjdot, egobridge, jumbot, ot, uot

__all__ = ["real_only", "cotraining", "reweighted", "importance", "ambient", "remix", "beacon"]
__all__ += ["adda", "tzeng", "dann", "cdan", "wei_adversarial", "probe"]
__all__ += ["mmd", "dan", "jan", "wei_mmd", "energy", "coral"]
__all__ += ["ot", "deepjdot", "jumbot", "uot", "egobridge", "LabelCost"]
__all__ += ["one_hot", "cfg", "wei_cfg", "cfg_adda", "structured"]
