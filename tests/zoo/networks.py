"""Networks of the zoos by name, and volumes made of one image."""

import torch
from warm_norms import warm_norms
from zoo import smp, timm, torchvision


def torchvision_model(name, **settings):
    return lambda: torchvision.models.get_model(name, weights=None, **settings)


def timm_model(name, **settings):
    return lambda: timm.create_model(name, **settings)


def smp_model(decoder, encoder="resnet18", **settings):
    return lambda: getattr(smp, decoder)(encoder, encoder_weights=None, **settings)


def build(make):
    """A model in eval mode, its batch norms as if they were trained."""
    torch.manual_seed(0)
    return warm_norms(make()).eval()


def first(output):
    return output["out"] if isinstance(output, dict) else output


def assert_same_answer(flat, deep, axis, size=(64, 96), length=32):
    """The 3D network on a volume that repeats one image along `axis` gives the 2D answer."""
    image = torch.randn(1, 3, *size)
    volume = image.unsqueeze(axis).repeat_interleave(length, axis)
    with torch.no_grad():
        expected, found = first(flat(image)), first(deep(volume))
    if found.ndim == 5:
        middle = found.shape[axis] // 2  # away from the zeros beyond the border
        found = found.select(axis, middle)
    difference = (found - expected).abs().max() / expected.abs().max()
    assert difference < 1e-4


# one whose forwards are 3D as they are, one with depth in height, two with depth in the batch
FOUR = {
    "resnet18": torchvision_model("resnet18"),
    "shufflenet_v2_x0_5": torchvision_model("shufflenet_v2_x0_5"),
    "tf_mobilenetv3": timm_model("tf_mobilenetv3_small_minimal_100"),
    "unet": smp_model("Unet", decoder_channels=[32, 16, 8, 8, 8]),
}
