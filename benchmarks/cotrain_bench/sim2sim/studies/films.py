"""Films of what policies do: episodes replayed from their commands and drawn by MuJoCo, methods side by side.

Nothing is filmed while cells are computed: an episode is a function of its seed and its commands, so a finished cell
can be filmed later, on a machine that can draw.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cotrain_losses.cli.report import Figure, Text

from ...results import CannotContinue, Row
from ..batches import Budget
from ..cell import Cell
from ..gaps import GAPS
from ..image_cell import ImageCell
from ..images import LOOKS, ImageWorld
from ..methods import METHODS
from ..tasks import meta_world
from .findings import Result
from .plans import gap

PIXELS, EVERY, COLUMNS = 168, 4, 7  # of a picture; control steps between pictures; cells side by side
FRAME_MS = 60


def films(results: Sequence[Result]) -> list[Figure | Text]:
    """A film a gap of Meta-World's tasks: the first pair's first evaluation episode, a column a method, label or ratio.

    Where nothing can be drawn there is one sentence in the films' place.
    """
    first = min(cell.seed for cell, _ in results)
    results = [(cell, row) for cell, row in results if "picture" in row]  # a policy that diverged has done nothing
    gaps = dict.fromkeys((cell.task, gap(cell)) for cell, _ in results if cell.task in meta_world())
    shown: list[Figure | Text] = []
    try:
        for task, name in gaps:
            some = [(c, r) for c, r in results if (c.task, gap(c), c.seed) == (task, name, first)][:COLUMNS]
            if not some:
                continue
            titles = ", ".join(_title(cell, row) for cell, row in some)
            shown.append(Figure(film(some), f"{task}, gap {name}, the same episode: {titles}."))
    except CannotContinue as error:
        return [Text(f"Films are left out: {error}")]
    return shown


def film(columns: Sequence[Result]) -> bytes:
    """A GIF of one episode of each cell, side by side; one that ends stays as it ended."""
    takes = [_take(cell, row) for cell, row in columns]
    length = max(map(len, takes))
    frames = [np.concatenate([take[min(k, len(take) - 1)] for take in takes], axis=1) for k in range(length)]
    pictures, file = [_named(frame, columns) for frame in frames], io.BytesIO()
    shared = pictures[len(pictures) // 2].quantize(128)
    first, *others = [picture.quantize(palette=shared) for picture in pictures]
    first.save(file, "GIF", save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    return file.getvalue()


def _take(cell: Cell, row: Row) -> list[Any]:
    """Pictures of the cell's first episode, from the target's second camera brought nearer."""
    nearer = replace(GAPS[cell.gap], camera_distance=0.75 * GAPS[cell.gap].camera_distance)
    look = cell.seen_as if isinstance(cell, ImageCell) else LOOKS.get(cell.gap)
    with ImageWorld(cell.task, nearer, look, PIXELS) as world:
        episode = world.episode(cell.evaluation_seeds()[0])
        pictures = [episode.views()[1]]
        for step, command in enumerate(row["picture"]["commands"][0]):
            episode.step(np.asarray(command))
            if step % EVERY == 0:
                pictures.append(episode.views()[1])
        return [*pictures, episode.views()[1]]


def _named(frame: Any, columns: Sequence[Result]) -> Image.Image:
    picture = Image.fromarray(np.concatenate([np.full((16, frame.shape[1], 3), 255, np.uint8), frame]))
    pen = ImageDraw.Draw(picture)
    for k, (cell, row) in enumerate(columns):
        pen.text((k * PIXELS + 4, 2), _title(cell, row), fill="#1c2430" if row["outcomes"][0] else "#c0392b")
    return picture


def _title(cell: Cell, row: Row) -> str:
    name = METHODS[cell.method].title if cell.method != "cotraining" else f"co-training {cell.ratio:g}"
    longer = f", {cell.budget.steps} steps" if cell.budget.steps > Budget.steps else ""
    return f"{name}{longer}{', label' if cell.label else ''}{'' if row['outcomes'][0] else ' (fails)'}"
