"""Make the model zoos importable beside a CPU-only torch.

torchvision's wheel is built for CUDA and cannot load its compiled operators here; their schemas are
all that importing it asks for. The zoos live in .venv/zoo, where nothing else finds them.
"""

import sys
import warnings
from pathlib import Path

import torch

FOLDER = Path(sys.prefix) / "zoo"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

if FOLDER.is_dir() and str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))
if not hasattr(torch.ops.torchvision, "nms"):
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import segmentation_models_pytorch as smp
    import timm
    import torchvision
    from pytorchvideo.models.csn import create_csn

__all__ = ["create_csn", "smp", "timm", "torchvision"]
