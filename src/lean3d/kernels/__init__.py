"""Triton kernels for what torch's libraries run slowly on a GPU, each with its gradients."""

from lean3d.kernels.acs import acs_conv3d
from lean3d.kernels.depthwise import depthwise_conv3d
from lean3d.kernels.device import reason, runs_on
from lean3d.kernels.pointwise import scale_add_relu

__all__ = ["acs_conv3d", "depthwise_conv3d", "reason", "runs_on", "scale_add_relu"]
