"""Scale a volume as the run that a recipe belongs to was trained."""

from lean3d.data import Scale, Volume, normalise
from lean3d.errors import RunError
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.volume_classification import VolumeClassificationRecipe

__all__ = ["check_channels", "scaled", "scales"]


def scales(recipe: SegmentationRecipe | VolumeClassificationRecipe) -> list[Scale | None] | None:
    """Return the scale of each channel, None for its own mean and deviation; None if not stored."""
    if recipe.scaling is None:
        return None
    values = recipe.scaling
    fours = [values[i : i + 4] for i in range(0, len(values), 4)]
    return [Scale(*four) if any(four) else None for four in fours]


def scaled(recipe: SegmentationRecipe, volume: Volume) -> Volume:
    """Return the volume as the network takes it: with the scale that the run stores.

    Raises:
        RunError: it has other channels than the run.
    """
    check_channels(recipe, volume.name, len(volume.image))
    return normalise(volume, scales(recipe))


def check_channels(
    recipe: SegmentationRecipe | VolumeClassificationRecipe, name: str, found: int
) -> None:
    """Refuse a volume of other channels than the run's.

    Args:
        found: How many channels the volume has.

    Raises:
        RunError: names the volume, and how many channels the run was trained on.
    """
    if recipe.in_channels not in (0, found):
        raise RunError(
            f"{name} has {found} channels and the run was trained on {recipe.in_channels}; give "
            "the images of all channels in order"
        )
