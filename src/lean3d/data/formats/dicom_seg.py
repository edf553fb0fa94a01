"""Masks as DICOM-SEG, through highdicom: for viewers, beside the series that was segmented."""

import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lean3d.data.formats.dicom import open_dicom, read_stack
from lean3d.data.formats.registry import find_reader, register_writer, split
from lean3d.data.grid import Grid
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["write_dicom_seg"]

# of the standard's code SNOMED CT; the name of a class is a code of our own
CATEGORY = "123037004", "SCT", "Anatomical Structure"
SCHEME = "99LEAN3D"


def _check(files: tuple[Path, ...]) -> None:
    scan, _ = split(files[0])
    if find_reader(scan) is not open_dicom:
        raise DataError(
            f"DICOM-SEG needs the DICOM series that was segmented, and {scan} is none; "
            "write .nii.gz"
        )


@register_writer(".dcm", check=_check)
def write_dicom_seg(
    path: Path, mask_DHW: np.ndarray, grid: Grid, files: tuple[Path, ...], names: tuple[str, ...]
) -> None:
    """Write the classes up to the last that is present as segments, on the images of the series.

    Raises:
        DataError: the scan is not DICOM.
    """
    hd = require("highdicom", extra="volume")
    pydicom = require("pydicom", extra="volume")
    folder, inside = split(files[0])
    stored = grid.turn_back(mask_DHW.astype(np.uint8, copy=False)).reshape(grid.stored[:3])
    pages = stored.transpose(2, 1, 0)
    slices = read_stack(folder, inside)
    if slices[0].frame is not None:
        pages = pages[np.argsort([one.frame or 0 for one in slices])]
    # a segment has the number of its class; of an empty mask the first class is written, empty
    last = max(int(pages.max()), 1)
    sources = list(dict.fromkeys(one.file for one in slices))
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in sources]
    labels = [names[n] if n < len(names) else str(n) for n in range(1, last + 1)]
    with warnings.catch_warnings():
        # of names of patients that have one part
        warnings.simplefilter("ignore")
        segmentation = hd.seg.Segmentation(
            source_images=headers,
            pixel_array=np.ascontiguousarray(pages),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(hd, i, label) for i, label in enumerate(labels, 1)],
            series_instance_uid=hd.UID(),
            series_number=int(headers[0].get("SeriesNumber") or 0) + 1000,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="lean3d",
            manufacturer_model_name="lean3d",
            software_versions=_version(),
            device_serial_number="0",
            series_description="Segmentation by lean3d",
        )
        segmentation.save_as(path)


def _segment(hd: Any, number: int, label: str) -> Any:
    concept = hd.sr.CodedConcept
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=concept(*CATEGORY),
        segmented_property_type=concept(str(number), SCHEME, label[:64]),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="lean3d",
            version=_version(),
            family=concept("123109", "DCM", "Artificial Intelligence"),
        ),
    )


def _version() -> str:
    try:
        return version("lean3d")
    except PackageNotFoundError:  # run from its sources
        return "0"
