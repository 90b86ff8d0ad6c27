"""Methods that compare kernel means or moments of the features."""

from __future__ import annotations

from ..method import Method
from ..terms.mmd import CORAL, MMD, EnergyDistance
from .mixing import Ratio


def mmd(*, ratio: Ratio = 0.1, strength: float = 0.1) -> Method:
    """Co-training plus a maximum mean discrepancy with five Gaussian kernels (Long et al. 2015, DAN; unbiased, the
    mean over kernels, median bandwidth).

    >>> mmd(strength=0.1).regularizer.strengths()
    {'mmd': 0.1}
    """
    return Method(ratio=ratio, regularizer=strength * MMD())


def dan(*, ratio: Ratio = 0.1, strength: float = 1.0, bandwidth: float | str | None = "mean") -> Method:
    """The same with tllib's kernels: exp(-|x - y|^2 / 2 sigma^2), sigma^2 = 2^k b^2 for k = -3 to 1, *summed*.  There
    b^2 is the mean of all p^2 pooled |x - y|^2, rows with themselves included ("mean" leaves them out: larger by
    p / (p - 1)), and 2 / (n - 1) is added, a constant.

    >>> dan().regularizer.strengths()
    {'mmd': 5.0}
    """
    return Method(ratio, 5 * strength * MMD(bandwidth, scales=(0.125**0.5, 0.5, 0.5**0.5, 1.0, 2**0.5)))


def jan(*, ratio: Ratio = 0.1, strength: float = 1.0, extras: tuple[str, ...] = ("action",)) -> Method:
    """Kernels of features and extras multiplied, so that joint distributions are aligned: JAN (Long et al. 2017), with
    actions for its predicted labels.  Kernels are averaged here, summed there.

    >>> jan().regularizer.strengths()
    {'mmd': 1.0}
    """
    return Method(ratio=ratio, regularizer=strength * MMD(extras=extras))


def wei_mmd(*, ratio: Ratio = 0.1, strength: float = 0.001, bandwidth: float | str | None = "mean") -> Method:
    """The biased estimator on observation features, strength 0.001 (swept 1e-4 to 1): Wei et al. 2025.  Their kernels
    exp(-|x - y|^2 / (base mult)), mult 1/4 to 4, base the mean of the batch's pooled |x - y|^2 over distinct rows, have
    bandwidth sqrt(base) and scales sqrt(mult / 2).

    >>> wei_mmd().regularizer.strengths()
    {'mmd': 0.001}
    """
    scales = (0.125**0.5, 0.5, 0.5**0.5, 1.0, 2**0.5)
    return Method(ratio, strength * MMD(bandwidth, scales=scales, estimator="biased"))


def energy(*, ratio: Ratio = 0.1, strength: float = 0.1) -> Method:
    """Half the energy distance, as geomloss counts it: the kernel baseline beside Cheng et al. 2025, strength that of
    public reproductions.  Needs no bandwidth.

    >>> energy().regularizer.strengths()
    {'energy_distance': 0.05}
    """
    return Method(ratio=ratio, regularizer=strength / 2 * EnergyDistance())


def coral(*, ratio: Ratio = 0.1, strength: float = 1.0) -> Method:
    """Covariances aligned: Deep CORAL (Sun & Saenko 2016, eq. 1).  tllib's loss is CORAL(mean=True) + 3 * CORAL().

    >>> coral().regularizer.strengths()
    {'coral': 1.0}
    """
    return Method(ratio=ratio, regularizer=strength * CORAL())
