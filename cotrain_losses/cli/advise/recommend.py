"""What to do: a ratio, a sampler's line and a method to start with, each with the study that supports it.

What the studies support lies in evidence.json beside this file; conditions are measured on the datasets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.names import shown
from ...measures import ActionGap, action_gap, uncovered
from ...measures.coverage import Cut
from ...measures.sides import Side
from .batches import sampler_line
from .statistics import Summary, mixed

CONFLICT, NEAR = 1.5, 2.0
"""the gap from which actions differ, where source neighbours are at most NEAR times as far as the target's own"""


@lru_cache
def evidence() -> dict[str, Any]:
    """The data file."""
    return dict(json.loads(Path(__file__).with_name("evidence.json").read_text("utf-8")))


def actions_at_near_states(sources: Sequence[Summary], target: Summary, seed: int) -> dict[str, Any] | None:
    """Whether near states ask for different actions in the two domains; None where states cannot be compared.

    Asked of at least 3 target episodes: neighbours are of other episodes, so one or two show too little.
    """
    widths = {None if s.sample_state is None else s.sample_state.shape[1] for s in (target, *sources)}
    if len(widths) > 1 or target.sample_state is None or len(target.lengths) < 3:
        return None
    scale = np.where((std := target.sample_state.std(0)) > 1e-9, std, 1.0)
    states = mixed(sources, "sample_state") / scale, target.sample_state / scale
    actions = mixed(sources, "sample_action"), target.sample_action
    try:
        gap = action_gap(*states, *actions, target_groups=target.sample_episode, rows=1500, seed=seed)
    except ValueError:  # fewer frames than neighbours
        return None
    return {"gap": gap.gap, "state_distance": gap.feature_distance, "differ": _differ(gap)}


def regions(sources: Sequence[Summary], target: Summary, seed: int) -> list[dict[str, Any]]:
    """Each source's states that no target state covers; nothing where states cannot be compared."""
    found = []
    for source in sources:
        sides = [(s.sample_state, s.sample_episode) for s in (source, target) if s.sample_state is not None]
        if len(sides) < 2 or sides[0][0].shape[1] != sides[1][0].shape[1] or min(len(x) for x, _ in sides) < 2:
            continue
        named = zip(("source", "target"), sides, strict=True)
        region = uncovered(*(Side.of(name, x, episode) for name, (x, episode) in named), seed=seed)
        if region is not None:
            name = shown(source.demonstrations.name)
            cut = None if region.cut is None else _described(region.cut, source.demonstrations.state_names)
            row = {"source": name, "share": region.share, "episodes": region.episodes, "where": cut}
            found.append(row | {"certain": region.certain})
    return found


def _described(cut: Cut, names: Sequence[str]) -> dict[str, Any]:
    name = shown(names[cut.dimension]) if cut.dimension < len(names) else str(cut.dimension)
    return {"dimension": name, "above": cut.above, "value": cut.value, "accuracy": cut.accuracy}


def recommended(report: dict[str, Any]) -> dict[str, Any]:
    """Ratio, sampler line, method and next steps, with what supports each."""
    held, ratio = evidence(), start(report)
    settings, near = report["settings"], report["actions_at_near_states"]
    holds = {"always": True, "actions differ": bool(near and near["differ"] and not report["findings"])}
    method = next(method for method in held["methods"] if holds[method["when"]])
    candidates = [b["ratio"] for b in report["batches"] if 0 < b["ratio"] < 1] or [ratio]
    line = sampler_line([*candidates, ratio], batch_size=settings["batch_size"], enough=settings["enough"])
    return {
        "ratio": {"start": ratio, "evidence": found(held["ratio"])},
        "sampler": line,
        "method": {
            "name": method["name"],
            "code": method["code"].format(ratio=ratio),
            "when": held["conditions"][method["when"]],
            "because": method["because"],
            "evidence": found(method["findings"]),
        },
        "next": [{"do": step["do"], "evidence": found(step["findings"])} for step in held["next"]],
    }


def start(report: dict[str, Any]) -> float:
    """The ratio to begin with: the geometric middle of the search range, to two digits."""
    ratio = report["ratio"]
    return float(f"{(ratio['lower'] * ratio['upper']) ** 0.5:.2g}")


def _differ(gap: ActionGap) -> bool:
    return gap.gap > CONFLICT and gap.feature_distance < NEAR


def found(names: Sequence[str]) -> list[dict[str, str]]:
    """The findings of these names: what a study says, its page and its section."""
    return [evidence()["findings"][name] for name in names]
