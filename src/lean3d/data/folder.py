"""Find the images of a folder and their labels.

Three layouts are supported:
    images/case.nii.gz           labels/case.nii.gz      (masks/ as well)
    imagesTr/case_0000.nii.gz    labelsTr/case.nii.gz    (nnU-Net, Medical Decathlon)
    case.nii.gz                  case_label.nii.gz       (side by side; _seg and _mask as well)
In all of them case_0000, case_0001, ... are the channels of one case; so are those of a file with a
fourth axis. Any format of lean3d.data.formats is read, a folder of slices included.
"""

import re
from pathlib import Path

from lean3d.data.formats.registry import is_scan, stem
from lean3d.errors import DataError

__all__ = ["CHANNEL", "ImagePath", "Pair", "by_stem", "find_pairs", "scans_in"]

ImagePath = Path | tuple[Path, ...]
Pair = tuple[ImagePath, Path, str]

FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"), ("images", "masks"))
SUFFIX = re.compile(r"_(label|labels|seg|mask)$")
CHANNEL = re.compile(r"_(\d{4})$")
LAYOUTS = (
    "expected images/ with labels/, imagesTr/ with labelsTr/, or case.nii.gz beside "
    "case_label.nii.gz"
)


def find_pairs(folder: str | Path) -> list[Pair]:
    """List (image, label, name) for every case of a folder, sorted by name.

    The image is a path, or a tuple of paths in channel order if a case has several.

    Raises:
        DataError: the folder is laid out otherwise, an image or a label has no partner, or two
            cases have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; {LAYOUTS}")
    images, labels = _files(folder)
    cases: dict[str, list[Path]] = {}
    for key, path in images.items():
        cases.setdefault(_case(key, path, labels), []).append(path)
    for name in labels.keys() - cases.keys():
        raise DataError(f"{labels[name]} has no image; add the image or move the label away")
    pairs = [(_channels(paths), labels[name], name) for name, paths in sorted(cases.items())]
    _check_channels(pairs)
    return pairs


def _files(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    for images, labels in FOLDERS:
        # a folder with images alone is refused for its labels
        if (folder / images).is_dir() and (
            (folder / labels).is_dir() or not (folder / "masks").is_dir()
        ):
            cases = by_stem(scans_in(folder / images))
            found = cases, by_stem(scans_in(folder / labels), keep=set(cases))
            break
    else:
        scans = scans_in(folder)
        beside = [path for path in scans if SUFFIX.search(stem(path))]
        cases = by_stem([path for path in scans if path not in beside])
        found = cases, by_stem(beside, keep=set())
    if not found[0]:
        raise DataError(f"{folder} holds no image of a known format; {LAYOUTS}")
    return found


def scans_in(folder: Path) -> list[Path]:
    """Return the scans of a folder, whatever they are called."""
    # hidden files are the ._ twins that macOS adds to archives; a header may have its voxels apart
    scans = [path for path in folder.glob("*") if is_scan(path)]
    apart = {path.with_suffix(".img") for path in scans} | {p.with_suffix(".raw") for p in scans}
    return sorted(path for path in scans if path.suffix != ".img" or path not in apart)


def by_stem(paths: list[Path], keep: set[str] | None = None) -> dict[str, Path]:
    """Index files by case; labels (`keep` given) lose their suffix unless the case has it too."""
    found: dict[str, Path] = {}
    for path in paths:
        name = stem(path)
        if keep is not None and name not in keep:
            name = SUFFIX.sub("", name)
        if name in found:
            raise DataError(f"{found[name]} and {path} are the same case; move one of them away")
        found[name] = path
    return found


def _case(key: str, path: Path, labels: dict[str, Path]) -> str:
    """Return the case of an image: its own name, or that name without the channel number."""
    names = [name for name in (key, CHANNEL.sub("", key)) if name in labels]
    if not names:
        raise DataError(f"{path} has no label; add it, or move the image away: {LAYOUTS}")
    return names[0]


def _channels(paths: list[Path]) -> ImagePath:
    if len(paths) == 1:
        return paths[0]
    for number, path in enumerate(paths):
        if not stem(path).endswith(f"_{number:04}"):
            raise DataError(
                f"{path} is where channel {number:04} of its case should be; "
                "number the channels of a case from _0000 without gaps"
            )
    return tuple(paths)


def _check_channels(pairs: list[Pair]) -> None:
    counts = [len(image) if isinstance(image, tuple) else 1 for image, _, _ in pairs]
    for (_, _, name), count in zip(pairs, counts, strict=True):
        if count != counts[0]:
            raise DataError(
                f"case {name} has {count} channels where {pairs[0][2]} has {counts[0]}; "
                "give every case the same channels"
            )
