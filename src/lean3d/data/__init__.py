"""Data on disk, or generated data, as tensors and targets."""

from lean3d.data.affinities import (
    affinity_targets,
    balanced_weights,
    instances_of_membranes,
    read_channels,
    shrink_labels,
)
from lean3d.data.augment import Augmentation
from lean3d.data.blocks import cut_blocks
from lean3d.data.brain import TISSUES, brain_slabs, mni152
from lean3d.data.clip_window import ClipWindow
from lean3d.data.digits import MovingDigits
from lean3d.data.export import save_image
from lean3d.data.folder import find_pairs
from lean3d.data.formats.registry import Scan, register_reader, register_writer
from lean3d.data.grid import Grid
from lean3d.data.intensity import Scale, is_ct, normalise, window
from lean3d.data.layouts.registry import Found, Item, find_items, list_layouts, register_layout
from lean3d.data.listing import Listing, Recording
from lean3d.data.load import load_folder, load_volume
from lean3d.data.look import Look
from lean3d.data.mask import save_mask
from lean3d.data.masks import Masks
from lean3d.data.motions import MOTIONS
from lean3d.data.neurites import Neurites
from lean3d.data.patches import EpochSampler, PatchDataset, SliceDataset, WholeVolumes
from lean3d.data.people_sets import list_people_sets, load_people, people_set
from lean3d.data.prefetch import Prefetch
from lean3d.data.raw_clips import LookOnDevice, RawClip, raw_batch
from lean3d.data.regions import Regions
from lean3d.data.sections import AUGMENTATIONS, Augmented, SectionAugmentation
from lean3d.data.shapes import SHAPES_2D, SHAPES_3D, Shapes2D, Shapes3D
from lean3d.data.source import open_frames
from lean3d.data.tracklet_clips import PersonSampler, TrackletClips
from lean3d.data.tracklets import Pair, People, Tracklet
from lean3d.data.video_clips import VideoClips
from lean3d.data.video_sets import list_video_sets, load_videos, video_set
from lean3d.data.video_write import write_video
from lean3d.data.volume import Volume

__all__ = [
    "AUGMENTATIONS",
    "MOTIONS",
    "SHAPES_2D",
    "SHAPES_3D",
    "TISSUES",
    "Augmentation",
    "Augmented",
    "ClipWindow",
    "EpochSampler",
    "Found",
    "Grid",
    "Item",
    "Listing",
    "Look",
    "LookOnDevice",
    "Masks",
    "MovingDigits",
    "Neurites",
    "Pair",
    "PatchDataset",
    "People",
    "PersonSampler",
    "Prefetch",
    "RawClip",
    "Recording",
    "Regions",
    "Scale",
    "Scan",
    "SectionAugmentation",
    "Shapes2D",
    "Shapes3D",
    "SliceDataset",
    "Tracklet",
    "TrackletClips",
    "VideoClips",
    "Volume",
    "WholeVolumes",
    "affinity_targets",
    "balanced_weights",
    "brain_slabs",
    "cut_blocks",
    "find_items",
    "find_pairs",
    "instances_of_membranes",
    "is_ct",
    "list_layouts",
    "list_people_sets",
    "list_video_sets",
    "load_folder",
    "load_people",
    "load_videos",
    "load_volume",
    "mni152",
    "normalise",
    "open_frames",
    "people_set",
    "raw_batch",
    "read_channels",
    "register_layout",
    "register_reader",
    "register_writer",
    "save_image",
    "save_mask",
    "shrink_labels",
    "video_set",
    "window",
    "write_video",
]
