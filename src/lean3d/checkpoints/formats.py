"""All formats, and the detection of a file's format."""

import difflib

from lean3d.checkpoints.acsconv import ACSCONV
from lean3d.checkpoints.caffe2 import CAFFE2
from lean3d.checkpoints.efficient import EFFICIENT
from lean3d.checkpoints.format import Facts, Format, Tensors
from lean3d.checkpoints.hara import HARA, MEDICALNET
from lean3d.checkpoints.mmaction import MMACTION
from lean3d.checkpoints.pytorchvideo import PYTORCHVIDEO
from lean3d.checkpoints.timm import TIMM_3D
from lean3d.checkpoints.torchvision import TORCHVISION, named_as_here
from lean3d.checkpoints.vmz import VMZ
from lean3d.errors import RunError

__all__ = ["FORMATS", "find_format"]

OWN = Format("lean3d", "the model's own names", lambda _: True, named_as_here, lambda _: Facts())
# in the order in which they are tried
FORMATS = {
    form.name: form
    for form in (
        CAFFE2,
        MMACTION,
        PYTORCHVIDEO,
        VMZ,
        TORCHVISION,
        MEDICALNET,
        HARA,
        EFFICIENT,
        ACSCONV,
        TIMM_3D,
        OWN,
    )
}


def find_format(tensors: Tensors, name: str | None = None) -> Format:
    """Return the format of that name, or the first that owns the file."""
    if name is None:
        return next(form for form in FORMATS.values() if form.owns(tensors))
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FORMATS)}"
        raise RunError(f"no format called {name!r}; {hint}")
    return FORMATS[name]
