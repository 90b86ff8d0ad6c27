"""Set-up of the runs with real policy libraries: offline, one thread, and torchvision beside a CPU build of torch.

LeRobot and robomimic import torchvision, whose wheels on the index are built for CUDA; on a CPU build of torch its
import asks for the schemas of two operators that only its own shared object declares.  They are declared here, in
tests alone: the library imports no torchvision.

The everyday suite does not collect this folder; `make integration` (pytest -m integration) does, and fails where
LeRobot or robomimic is missing.
"""

from __future__ import annotations

import os

import torch

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared = torch.library.Library("torchvision", "FRAGMENT")
for _name, _schema in SCHEMAS.items():
    try:
        getattr(torch.ops.torchvision, _name)
    except AttributeError:
        _declared.define(_name + _schema)
