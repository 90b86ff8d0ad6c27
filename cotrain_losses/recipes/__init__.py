"""Published methods, one expression each: a ratio, a regularizer, a guidance, weights.

Defaults are the source's where it gives them, said in each docstring; a strength means another thing
for every term, width and feature scale, so look at `losses.raw` before trusting any.  `ratio` is the target's
share throughout.  docs/special-cases.md shows each expression beside the formula it was published as, and how
closely the two agree; `structured` alone is published nowhere (docs/balance.md).
"""

from .adversarial import adda, cdan, dann, probe, tzeng, wei_adversarial
from .guidance import cfg, cfg_adda, one_hot, wei_cfg
from .kernels import coral, dan, energy, jan, mmd, wei_mmd
from .labels import LabelCost
from .mixing import cotraining, real_only, reweighted
from .structured import structured
from .transport import deepjdot, egobridge, jumbot, ot, uot
from .weights import ambient, beacon, importance, remix

__all__ = [
    "LabelCost",
    "adda",
    "ambient",
    "beacon",
    "cdan",
    "cfg",
    "cfg_adda",
    "coral",
    "cotraining",
    "dan",
    "dann",
    "deepjdot",
    "egobridge",
    "energy",
    "importance",
    "jan",
    "jumbot",
    "mmd",
    "one_hot",
    "ot",
    "probe",
    "real_only",
    "remix",
    "reweighted",
    "structured",
    "tzeng",
    "uot",
    "wei_adversarial",
    "wei_cfg",
    "wei_mmd",
]
