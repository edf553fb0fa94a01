"""Networks of ACSConv, MedMNIST3D's among them: the names and kernels of the 2D network.

Any 2D checkpoint loads into a converted network in the same way.
"""

from lean3d.checkpoints.format import Tensors, one_scheme
from lean3d.checkpoints.formats import register_format

__all__: list[str] = []

NAMES = one_scheme([(r"(.*)soft_w_core$", r"\1views"), (r"soft_w_core$", "views")])


@register_format("acsconv", "ACSConv, or a 2D network", names=NAMES, fallback=True)
def owns(tensors: Tensors) -> bool:
    """Whether the kernels are 2D, or all flat along one same axis."""
    kernels = [value.shape[2:] for value in tensors.values() if value.ndim > 3]
    if {len(kernel) for kernel in kernels} == {2}:
        return True
    return any(all(kernel[axis:][:1] == (1,) for kernel in kernels) for axis in range(3)) and any(
        max(kernel) > 1 for kernel in kernels
    )
