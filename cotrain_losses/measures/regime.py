"""Which regime a layer is in: disjoint, structured or overlapping (Lei et al. 2026).

    far   u = W_debiased / (sqrt(2) s_target)      s_target the spread of the target's features
    read  a = held-out accuracy of the domain probe

sqrt(2) s_target is the root mean squared distance between two of the target's own samples (of its halves at one
sample each), so u = 1 says: carrying the source onto the target moves a sample as far as two target samples differ.
u depends neither on the scale of the features nor, to first order, on their width or the number of rows.

                    a < 3/4         a > 3/4
    u > 4/5         -               disjoint
    u < 5/4         overlapping     structured

3/4 is half way between chance and certainty (proxy A-distance 1).  A regime is possible if the interval of u (95 %,
see alignment.py) and the 95 % interval of a both reach into its cell.  If one regime is possible the layer is in it;
else it is uncertain, between those that are.  For a readable layer with u between 4/5 and 5/4 that is always so.  These
numbers are conventions of this library, set before any policy was looked at: the paper gives examples, no thresholds.

A layer that is constant in both domains is in none of these: it has collapsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from .alignment import Estimate
from .discernibility import ProbeReading

NEAR, FAR, READ = 0.8, 1.25, 0.75

FOUND = {
    "disjoint": "In disjoint layers the paper found that success falls with log distance (r = -.70): closer is better.",
    "structured": "In structured layers the paper found that distance says little about success (r = -.31): a smaller "
    "distance does not promise more.",
    "overlapping": "In overlapping layers the paper found that success rises with distance (r = +.61): the domain "
    "cannot be read, so actions of both domains are averaged or mixed.",
    "collapsed": "The paper reports no such layer: nothing of the observation passes it.",
}
NEXT = {
    "disjoint": "Bring the domains closer. First try a ratio between N / (N + M) and sqrt(N / M). Then try a term at "
    "this seam (OptimalTransport, Sinkhorn, or DomainClassifier with a negative strength), and raise its strength "
    "while the probe stays high.",
    "structured": "Leave the alignment as it is. Search the ratio in the balanced range, and give the head the domain "
    "(DomainGuidance).",
    "overlapping": "Lower the strength of alignment terms here, or remove them. Give the head the domain: "
    "DomainGuidance, or a domain column before the head.",
    "collapsed": "Check whether this layer was written where the features were collected. If it was, remove alignment "
    "terms from this seam, or lower their strength: a constant is the minimum of every one of them.",
    "uncertain": "Collect more episodes of both domains, or look at the neighbouring layers, before changing anything.",
}


@dataclass(frozen=True)
class Regime:
    """The regime of a layer and why: `found` is what the paper found in it, `next` the suggested next move.

    >>> distance = (0.5, 0.4, 0.6)
    >>> Regime("structured", ("structured",), distance, "close", found="", next="").name
    'structured'
    """

    name: str
    """disjoint, structured, overlapping, uncertain or collapsed."""
    between: tuple[str, ...]
    """the regimes that the intervals touch; one unless uncertain."""
    distance: tuple[float, float, float]
    """u and its interval; infinite where the target is constant."""
    because: str
    found: str
    next: str


def regime(distance: tuple[float, float, float], probe: ProbeReading) -> Regime:
    """The regime from u with its interval, (u, low, high), and the probe's reading."""
    u, low, high = distance
    near, far = low < FAR, high > NEAR
    read, unread = probe.interval[1] > READ, probe.interval[0] < READ
    possible = {"disjoint": far and read, "structured": near and read, "overlapping": near and unread}
    between = tuple(name for name, yes in possible.items() if yes)
    name = between[0] if len(between) == 1 else "uncertain"
    because = (
        f"moving the source onto the target moves a row {u:.2f} [{low:.2f}, {high:.2f}] times as far as two target rows"
        f" lie apart (near: below {NEAR}; far: above {FAR}); a probe reads the domain of unseen episodes with accuracy "
        f"{probe.accuracy:.3f} [{probe.interval[0]:.3f}, {probe.interval[1]:.3f}] (readable: above {READ})"
    )
    return Regime(name, between, distance, because, " ".join(FOUND[each] for each in between), NEXT[name])


def collapsed(same: bool) -> Regime:
    """The finding of a layer that is constant in both domains, `same` if it is one constant."""
    because = (
        "features of both domains are one constant: neither the observation nor the domain can be read here"
        if same
        else "features of each domain are a constant of its own: the domain can be read here and nothing else"
    )
    u = 0.0 if same else float("inf")
    return Regime("collapsed", ("collapsed",), (u, u, u), because, FOUND["collapsed"], NEXT["collapsed"])


def relative_distance(transport: Estimate, unit: float, target_spread: float) -> tuple[float, float, float]:
    """u with its interval, from the distance in units of `unit`."""
    factor = unit / (2**0.5 * target_spread) if target_spread > 0 else float("inf")
    low, high = transport.debiased_interval
    return transport.debiased * factor, low * factor, high * factor
