"""The seam: where co-training meets a policy, as roles that act at sites.

    z = f(o)              features are read here, before the domain token
    c = z + E[domain]     the token enters the head's condition
    a_hat = head(x, c)    each sample's prediction sends back its weight times its gradient

Seen from outside: the policy's module tree, state_dict keys, files and optimizer stay as they are.  A role acts only
while its owner runs a step; a copy of the policy (an EMA, a pickle) is bare.  What a single codebase does otherwise is
a method, overridden in its adapter's own subclass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .paths import exists, resolved
from .sites import WHOLE, Captured, Places, RowRule, Site, features, sites


@dataclass(frozen=True)
class Seam:
    """Where features are read, the token enters and predictions leave: dotted paths of modules or methods, or `Site`s.

    Args:
        head: what turns a condition into predictions (a denoiser, a velocity net, a decoder); of several, one a domain
            or one a phase, each step calls some.
        condition: name or position of the head's argument that holds the features z, or a path into it.
        feature: what returns the features, where they are not an argument of the head; several are side by side.
        time: name or position of the head's argument that holds the diffusion or flow time, or a path into it.
        pool: function of the captured tensor giving (b, ...) or (b * k, ...), unfolded to (b, k * ...); None keeps it.
        width: of the condition, the dotted path of an attribute of the policy that holds it, or a function of it.
        token: what the domain token is added to, where that is not the head's condition.
        sampler: whether predictions are sampled from the head, so that guidance means something; a dotted path names
            the method that makes one prediction, where that is more than one call of the head (a VLA's action expert).
        rows: which sample owns each row, of every role here that says nothing else; see `Site`.
        prediction: what predictions leave from, where that is a module that takes the head's output straight on.

    >>> Seam(head="model.unet", condition="global_cond").conditioned
    True
    >>> Seam(feature="encoder", head="decoder").place
    'encoder'
    """

    head: Places = None
    condition: str | int | None = None
    feature: Places = None
    time: str | int | None = None
    pool: Callable[[Tensor], Tensor] | None = None
    width: int | str | Callable[[Any], int] | None = None
    token: Places = None
    sampler: bool | str = True
    rows: RowRule = "side by side"
    prediction: str | Site | None = None

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError(
                "a seam says where the features are: Seam(head='model.unet', condition='global_cond') when the head "
                "takes them as an argument, Seam(feature='encoder', head='decoder') when they are a module's output; "
                f"got head={self.head!r}, condition={self.condition!r}, feature={self.feature!r}."
            )

    @property
    def heads(self) -> tuple[Site, ...]:
        """The calls of the head, with the argument that holds the condition."""
        return sites(self.head, self.rows, self.condition)

    @property
    def features(self) -> tuple[Site, ...]:
        """Where features are read."""
        return sites(self.feature, self.rows) or tuple([head for head in self.heads if head.argument is not None])

    @property
    def tokens(self) -> tuple[Site, ...]:
        """Where the token is added other than in the head's condition."""
        return sites(self.token, self.rows)

    @property
    def predictions(self) -> tuple[Site, ...]:
        """What takes the head's output straight on, if predictions leave there."""
        return sites(self.prediction, self.rows)

    @property
    def conditioned(self) -> bool:
        """Whether every head is given a condition."""
        return bool(self.heads) and all(head.argument is not None for head in self.heads)

    @property
    def place(self) -> str:
        """Where the features are, in words for an error."""
        return " and ".join([site.place for site in self.features])

    @property
    def left(self) -> str:
        """Where predictions leave, in words for an error."""
        return " or ".join([site.call for site in self.predictions or self.heads]) or "the head"

    @property
    def guidable(self) -> bool:
        """Whether a sampler calls something that takes a token and gives a prediction."""
        return bool(self.sampler) and bool((self.tokens and (self.heads or self.steps)) or self.conditioned)

    @property
    def steps(self) -> str | None:
        """The method that makes one prediction while actions are sampled, where it is not the head."""
        return self.sampler if isinstance(self.sampler, str) else None

    def fits(self, policy: object) -> bool:
        """Whether the policy has the parts this seam names."""
        calls = [site.call for site in (*self.heads, *self.features, *self.tokens, *self.predictions)]
        return all(exists(policy, path) for path in (*calls, *([self.steps] if self.steps else [])))

    def condition_width(self, policy: object) -> int | None:
        """Width of the head's condition, if the seam knows it."""
        if callable(self.width):
            return int(self.width(resolved(policy, "")))
        return int(resolved(policy, self.width)) if isinstance(self.width, str) else self.width

    def features_in(self, captured: Sequence[Captured]) -> Tensor:
        """One row a sample of the features that one run of the policy had.

        Several calls of a module (cameras) are side by side; of a head's condition the first call counts.
        """
        z, owners, _ = captured[0]
        whole = z.ndim == 2 and len(z) == len(owners.domain) and owners.site.rows in WHOLE
        return z if whole and len(captured) == 1 and self.pool is None else features(captured, self.pool)

    def features_of(self, condition: Tensor, head: nn.Module, args: Any, kwargs: Any) -> Tensor:
        """The features in a call of the head that is given them as its condition."""
        return condition

    def call_again(self, head: Any, args: Any, kwargs: Any) -> Any:
        """The head called once more, for the other condition of guidance."""
        return head(*args, **kwargs)

    def copies(self, policy: object) -> tuple[Seam, ...]:
        """Seams of heads that sampling uses instead of `head`, such as an average that the policy keeps."""
        return ()

    def dormant(self, policy: object) -> bool:
        """Whether the policy is in a phase of training that does not reach the seam; its loss is then its own."""
        return False
