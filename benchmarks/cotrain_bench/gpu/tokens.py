"""Features that are tokens: what pooling them holds, and a step of pi0.5 at its real width.

The policy is LeRobot's own pi0.5 with one layer instead of 18 (one of 27 in its vision tower) and 1024 words.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

import cotrain_losses as ctl
from cotrain_losses.importance import RatioWeights
from cotrain_losses.policy.adapters import over_tokens

from ..peers.problems import alternating, repeat
from .machine import Machine, NotHere, Row
from .policies import methods
from .standins import stand_in

WIDTH, CAMERAS, WORDS, ACTIONS, HORIZON = 2048, ("top", "wrist"), 1024, 7, 50
Size = tuple[int, int, int]
"""samples, pixels a side, words"""


class How(NamedTuple):
    """How a step is run: `backend` compiles it, `told` that checkpoints repeat no side effect of the forward pass."""

    name: str
    checkpointed: bool
    backend: str = ""
    told: bool = False


PLAIN = How("checkpointed", True)
COUNTED = (
    How("compiled", False, "eager"),
    How("checkpointed and compiled", True, "eager"),
    How("checkpointed and compiled, no side effect repeated", True, "eager", True),
)
"""graphs are made and counted, and no code from them; that is made last, on a GPU, if time is left"""


def measured(on: Machine) -> Iterator[Row]:
    """Memory of pooling 256 and 1000 tokens a sample; time, memory and graph breaks of a step of pi0.5."""
    for count in (256, 1000):
        yield on.tried(f"32 samples of {count} tokens: MMD of their mean", partial(_pooled, on, count))
    size = (2, 56, 16) if on.tiny else (32 if on.cuda else 2, 224, 200)
    what = f"pi0.5 of one layer, {size[0]} samples"
    for name in ("MMD", "ratio weights", "guidance"):
        yield on.tried(f"{what}, checkpointed: {name}", partial(_step, on, methods(WIDTH)[name], size))
    for how in COUNTED:
        yield on.tried(f"{what}, {how.name}: MMD, ratio weights and guidance", partial(_breaks, on, size, how))
    if on.cuda:
        how = How("compiled", False, "inductor")
        yield on.tried(f"{what}, compiled: MMD", partial(_step, on, methods(WIDTH)["MMD"], size, how))


class Encoder(nn.Module):
    """(b, tokens, 16) -> (b, tokens, WIDTH), each read by a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Linear(16, WIDTH), nn.Linear(WIDTH, ACTIONS)

    def forward(self, x: Tensor) -> Tensor:
        """The policy's loss."""
        predicted: Tensor = self.head(self.tokens(x))
        return predicted.square().mean()


def _pooled(on: Machine, count: int) -> Row:
    """How many copies of the tokens a term of their mean adds to the two that a bare step holds at its peak."""
    policy, x = Encoder().to(on.device), torch.randn(32, count, 16, device=on.device)
    bare = on.peak(lambda: policy(x).backward())
    seam = ctl.Seam(feature="tokens", pool=over_tokens, head="head")
    cotrain = ctl.CoTrain(policy, ctl.Method(regularizer=0.1 * ctl.MMD()), seam=seam, loss="__call__")
    domain = torch.arange(32) < 4
    more = on.peak(lambda: cotrain(x, domain=domain).total.backward()) - bare
    return {"figure": "copies of the tokens", "value": more / (4 * 32 * count * WIDTH), "wanted": 0.1}


def _step(on: Machine, method: Callable[[], ctl.Method], size: Size, how: How = PLAIN) -> Row:
    """What a method adds to a step: time and memory."""
    bare, ours = _stepper(on, None, size, how)[0], _stepper(on, method(), size, how)[0]
    times = alternating([partial(repeat, step, 1) for step in (bare, ours)], 2 if on.tiny else 3, on.device)
    before, after = (statistics.median(each) for each in zip(*times, strict=True))
    figure = {"figure": "step of pi0.5, with / without", "value": after / before, "wanted": 1.02}
    return figure | {"bare ms": 1e3 * before, "memory, with / without": on.peak(ours) / on.peak(bare)}


def _breaks(on: Machine, size: Size, how: How) -> Row:
    """How many graph breaks a method of three parts adds to a step."""
    method = replace(methods(WIDTH)["guidance"](), regularizer=0.1 * ctl.MMD(), weights=RatioWeights(0.1, 0.5))
    before, after = (_stepper(on, each, size, how)[1] for each in (None, method))
    return {"figure": "graph breaks added", "value": after - before, "wanted": 0, "of the bare step": before}


def _stepper(on: Machine, method: ctl.Method | None, size: Size, how: How) -> tuple[Callable[[], Any], int]:
    """A training step that has run once, and the graph breaks of that."""
    from torch._dynamo import config
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    counters.clear()
    torch.manual_seed(0)
    samples, side, _ = size
    policy, batch = pi05(on.device, how, side).train(), _batch(on.device, size)
    cotrain = None if method is None else ctl.CoTrain(policy, method)
    domain = torch.arange(samples) < max(1, samples // 10)
    own = [] if cotrain is None else list(cotrain.plugin_parameters())
    optimizer = torch.optim.AdamW([*policy.parameters(), *own], 1e-5)

    def step() -> None:
        total = policy.forward(batch)[0] if cotrain is None else cotrain(batch, domain=domain, step=0).total
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    with config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=True) if how.told else nullcontext():
        step()  # a setting of torch 2.11
    return step, sum(counters["graph_break"].values())


def pi05(device: str, how: How, side: int) -> Any:
    """LeRobot's pi0.5, made as its code makes it but for the number of layers and words."""
    stand_in()
    try:
        from lerobot.configs.types import FeatureType, PolicyFeature
        from lerobot.policies.pi05 import modeling_pi05 as pi
        from lerobot.policies.pi05.configuration_pi05 import PI05Config
    except ImportError as error:
        raise NotHere(str(error)) from error

    vlm, expert, sizes = pi.PaliGemmaForConditionalGenerationWithPiGemma, pi.PiGemmaForCausalLM, pi.get_gemma_config
    compile = torch.compile

    def shallow(config: Any) -> Any:
        config.vision_config.num_hidden_layers, config.text_config.vocab_size = 1, WORDS
        return vlm(config=config)

    def wordless(config: Any) -> Any:
        config.vocab_size = WORDS
        return expert(config=config)

    def one_layer(variant: str) -> Any:
        config = sizes(variant)
        config.depth = 1
        return config

    def as_asked(call: Any, mode: str = "") -> Any:
        return compile(call, backend=how.backend)

    images = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in CAMERAS}
    inputs = {"observation.state": PolicyFeature(FeatureType.STATE, (ACTIONS,)), **images}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))}
    more: Any = {"device": device, "gradient_checkpointing": how.checkpointed, "compile_model": bool(how.backend)}
    more["image_resolution"] = (side, side)
    small: Any = {vlm.__name__: shallow, expert.__name__: wordless, "get_gemma_config": one_layer}
    with torch.device(device), mock.patch.multiple(pi, **small), mock.patch.object(torch, "compile", as_asked):
        return pi.PI05Policy(PI05Config(input_features=inputs, output_features=outputs, **more)).to(device)


def _batch(device: str, size: Size) -> dict[str, Tensor]:
    """Samples as the policy's preprocessor gives them."""
    samples, side, length = size
    images = {f"observation.images.{name}": torch.rand(samples, 3, side, side) for name in CAMERAS}
    words = torch.randint(4, WORDS, (samples, length))
    batch = {**images, "observation.language.tokens": words, "observation.language.attention_mask": words > 0}
    batch |= {"observation.state": torch.randn(samples, ACTIONS), "action": torch.randn(samples, HORIZON, ACTIONS)}
    return {name: x.to(device) for name, x in batch.items()}
