"""Lets the registry's torchvision be imported beside a torch without CUDA; import it before a library that needs both.

The registry's torchvision has a compiled part for CUDA builds of torch. Beside a CPU build that part does not load, and
the import fails at two operators that it was to bring. No peer uses these for audio; so their names are declared.
"""

from importlib.metadata import version

import torch

if torch.version.cuda is None and "+cpu" not in version("torchvision"):
    _OPERATORS = torch.library.Library("torchvision", "DEF")
    for _NAME in ("nms", "qnms"):
        _OPERATORS.define(f"{_NAME}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
