"""3D-ResNets-PyTorch of Hara et al., and MedicalNet, which uses the same names."""

from lean3d.checkpoints.format import Facts, Preprocessing, Tensors, one_scheme
from lean3d.checkpoints.formats import register_format

__all__: list[str] = []

CLIPS = Preprocessing((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737), frames=16, size=112)
VOLUMES = Preprocessing(None, None, note="each volume by the mean and std of its voxels above 0")
NAMES = one_scheme(
    [
        (r"conv1\.", "stem.0."),
        (r"bn1\.", "stem.1."),
        (r"(layer\d+\.\d+\.conv\d)\.", r"\1.0."),
        (r"(layer\d+\.\d+)\.bn(\d)\.", r"\1.conv\2.1."),
    ]
)
# shortcuts of type A have no weights
PROJECTIONS = r"(.*\.)?layer\d\.0\.downsample\."


def _named(tensors: Tensors) -> bool:
    stem = tensors.get("conv1.weight")
    return stem is not None and stem.ndim == 5 and "layer1.0.bn1.weight" in tensors


@register_format(
    "3d-resnets",
    "3D-ResNets-PyTorch or Efficient-3DCNNs",
    names=NAMES,
    facts=lambda tensors: Facts(1e-5, ((3, 3, 3),), (1, 2, 2), CLIPS),
    lacks=PROJECTIONS,
)
def hara(tensors: Tensors) -> bool:
    return _named(tensors) and tensors["conv1.weight"].shape[1] != 1


@register_format(
    "medicalnet",
    "MedicalNet",
    names=NAMES,
    facts=lambda tensors: Facts(
        1e-5, ((3, 3, 3),), (2, 2, 2), VOLUMES, arguments={"medical": True}
    ),
    lacks=PROJECTIONS,
)
def medicalnet(tensors: Tensors) -> bool:
    return _named(tensors) and tensors["conv1.weight"].shape[1] == 1
