"""Features that are tokens: what pooling them holds, and a step of pi0.5 at its real width.

The policy is LeRobot's own pi0.5 with one layer instead of 18 (one of 27 in its vision tower) and 1024 words.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import cotrain_losses as ctl
from cotrain_losses.policy.adapters import over_tokens

from ..peers.problems import alternating, repeat
from .machine import Machine, NotHere, Row
from .policies import methods
from .standins import stand_in

WIDTH, CAMERAS, WORDS, ACTIONS, HORIZON = 2048, ("top", "wrist"), 1024, 7, 50
Size = tuple[int, int, int]
"""samples, pixels a side, words"""


def measured(on: Machine) -> Iterator[Row]:
    """Memory of pooling 256 and 1000 tokens a sample; time, memory and graph breaks of a step of pi0.5."""
    for count in (256, 1000):
        yield on.tried(f"32 samples of {count} tokens: MMD of their mean", partial(_pooled, on, count))
    size = (2, 56, 16) if on.tiny else (32 if on.cuda else 2, 224, 200)
    for compiled in (False, True):
        how = f"pi0.5 of one layer, {size[0]} samples, checkpointed{' and compiled' * compiled}"
        for name in ("MMD", "ratio weights", "guidance"):
            yield on.tried(f"{how}: {name}", partial(_step, on, name, size, compiled))


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


def _step(on: Machine, name: str, size: Size, compiled: bool) -> Row:
    """What a method adds to a step: time and memory, or graph breaks where the step is compiled."""
    bare, breaks = _stepper(on, None, size, compiled)
    ours, more = _stepper(on, methods(WIDTH)[name](), size, compiled)
    timed = not compiled or on.cuda  # without a GPU nothing is generated, only graphs are made
    row: Row = {"figure": "graph breaks added", "value": more - breaks, "wanted": 0}
    if timed:
        times = alternating([partial(repeat, step, 1) for step in (bare, ours)], 2 if on.tiny else 3, on.device)
        before, after = (statistics.median(each) for each in zip(*times, strict=True))
        figure = {"figure": "step of pi0.5, with / without", "value": after / before, "wanted": 1.02}
        row = figure | {"bare ms": 1e3 * before, "memory, with / without": on.peak(ours) / on.peak(bare)}
        row |= {"graph breaks added": more - breaks} if compiled else {}
    return row


def _stepper(on: Machine, method: ctl.Method | None, size: Size, compiled: bool) -> tuple[Callable[[], Any], int]:
    """A training step that has run once, and the graph breaks of that."""
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    counters.clear()
    torch.manual_seed(0)
    samples, side, _ = size
    policy, batch = pi05(on.device, compiled, side).train(), _batch(on.device, size)
    cotrain = None if method is None else ctl.CoTrain(policy, method)
    domain = torch.arange(samples) < max(1, samples // 10)
    own = [] if cotrain is None else list(cotrain.plugin_parameters())
    optimizer = torch.optim.AdamW([*policy.parameters(), *own], 1e-5)

    def step() -> None:
        total = policy.forward(batch)[0] if cotrain is None else cotrain(batch, domain=domain, step=0).total
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return step, sum(counters["graph_break"].values())


def pi05(device: str, compiled: bool, side: int) -> Any:
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
        return compile(call, backend="inductor" if device == "cuda" else "eager")

    images = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, side, side)) for name in CAMERAS}
    inputs = {"observation.state": PolicyFeature(FeatureType.STATE, (ACTIONS,)), **images}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))}
    how: Any = {"device": device, "gradient_checkpointing": True, "compile_model": compiled}
    how["image_resolution"] = (side, side)
    small: Any = {vlm.__name__: shallow, expert.__name__: wordless, "get_gemma_config": one_layer}
    with torch.device(device), mock.patch.multiple(pi, **small), mock.patch.object(torch, "compile", as_asked):
        return pi.PI05Policy(PI05Config(input_features=inputs, output_features=outputs, **how)).to(device)


def _batch(device: str, size: Size) -> dict[str, Tensor]:
    """Samples as the policy's preprocessor gives them."""
    samples, side, length = size
    images = {f"observation.images.{name}": torch.rand(samples, 3, side, side) for name in CAMERAS}
    words = torch.randint(4, WORDS, (samples, length))
    batch = {**images, "observation.language.tokens": words, "observation.language.attention_mask": words > 0}
    batch |= {"observation.state": torch.randn(samples, ACTIONS), "action": torch.randn(samples, HORIZON, ACTIONS)}
    return {name: x.to(device) for name, x in batch.items()}
