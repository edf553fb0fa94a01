"""Affinities whose segmentation is known."""

import numpy as np
import torch

from lean3d.data import Neurites, affinity_targets, read_channels, shrink_labels

NEAR = read_channels(("z1", "y1", "x1"))
FAR = read_channels(("z1", "y1", "x1", "z3", "y5", "x5"))


def neurites(channels=NEAR, shape=(20, 36, 40), noise=0.1, shrink=1, seed=2):
    """Affinities uint8 of drawn neurites, smoothed and noisy as a network's are, and the labels."""
    from scipy.ndimage import gaussian_filter

    label = Neurites(shape=shape, radius_nm=100, seed=seed).volume().label
    target, _ = affinity_targets(shrink_labels(label, shrink, sections=False), channels)
    rough = np.random.default_rng(seed).standard_normal(target.shape)
    affinity = gaussian_filter(target.numpy(), (0, 0.5, 0.5, 0.5))
    affinity += 3 * noise * gaussian_filter(rough, (0, 1, 1, 1))
    return np.rint(255 * affinity.clip(0, 1)).astype(np.uint8), label.numpy()


def two_rooms(channels=FAR):
    """Two rooms of 5 voxels with a door between them: a nearest affinity of 0.6 in a wall of 0.1.

    Returns:
        Affinities (K, 1, 5, 11) float32, and the two rooms as labels.
    """
    room = np.zeros((1, 5, 11), np.int64)
    room[..., :5], room[..., 5:] = 1, 2
    target, _ = affinity_targets(torch.from_numpy(room), channels)
    affinity = np.where(target.numpy() > 0, 0.9, 0.1).astype(np.float32)
    affinity[channels.index((0, 0, -1)), 0, 2, 5] = 0.6
    return affinity, room
