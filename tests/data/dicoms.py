"""DICOM series made for tests."""

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

HU = np.random.default_rng(0).integers(-1000, 1000, (6, 10, 12)).astype(np.int16)
AXIAL = (1.0, 0, 0, 0, 1, 0)


def write_slice(path, pixels, place, axes=AXIAL, uid="1.2.3", about=None, spacing=(0.7, 0.5)):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.FrameOfReferenceUID, one.SeriesInstanceUID = "1.2.1", "1.2.2", uid
    one.PatientID = one.PatientName = "made"
    one.PatientBirthDate = one.PatientSex = one.StudyDate = one.StudyTime = ""
    one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
    one.Modality, one.SeriesNumber = "CT", 1
    one.Rows, one.Columns = pixels.shape
    one.PixelSpacing, one.SliceThickness = list(spacing), 2
    one.ImageOrientationPatient, one.ImagePositionPatient = list(axes), list(place)
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.SamplesPerPixel = 15, 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.RescaleSlope, one.RescaleIntercept = 2, -1024
    # stored unsigned, as scanners do
    one.PixelRepresentation = 0
    one.PixelData = np.uint16((pixels.astype(int) + 1024) // 2).tobytes()
    for name, value in (about or {}).items():
        setattr(one, name, value)
    pydicom.dcmwrite(path, one)


def write_series(folder, hu=HU, step=(0, 0, 2.0), keep=None, **settings):
    """Slices in no order, at (-3, 4, 5) + i * step mm to left, posterior, superior."""
    folder.mkdir(parents=True, exist_ok=True)
    places = range(len(hu)) if keep is None else keep
    for i in places:
        # names are in another order than places
        name = f"{settings.get('uid', '')}IM{(7 * i) % 11:03}"
        write_slice(folder / name, hu[i], np.array([-3, 4, 5]) + i * np.array(step), **settings)
    return folder
