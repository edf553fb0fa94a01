"""Wiring of the trainer: run folders, checkpoints, resuming, history."""

from lean3d.optional import require

require("lightning.pytorch", extra="train")
