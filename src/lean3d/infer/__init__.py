"""Prediction on whole volumes and live videos."""

from lean3d.infer.attention import class_attention, feature_attention, find_layer
from lean3d.infer.cluster import dask_executor
from lean3d.infer.decoding import components, decode, drop_small, mutex_watershed
from lean3d.infer.embedding import Embedder, Embedding, FrameEmbeddings, fuse
from lean3d.infer.export import ExportedNetwork, export_network
from lean3d.infer.gallery import Entry, Gallery
from lean3d.infer.labels import predict_labels
from lean3d.infer.live import Session
from lean3d.infer.merging import agglomerate
from lean3d.infer.segment_blocks import BlockSegmentation, Segmented
from lean3d.infer.sliding import predict_slices, predict_volume
from lean3d.infer.watershed import Watershed

__all__ = [
    "BlockSegmentation",
    "Embedder",
    "Embedding",
    "Entry",
    "ExportedNetwork",
    "FrameEmbeddings",
    "Gallery",
    "Segmented",
    "Session",
    "Watershed",
    "agglomerate",
    "class_attention",
    "components",
    "dask_executor",
    "decode",
    "drop_small",
    "export_network",
    "feature_attention",
    "find_layer",
    "fuse",
    "mutex_watershed",
    "predict_labels",
    "predict_slices",
    "predict_volume",
]
