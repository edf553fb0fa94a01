"""Wiring of the trainer: run folders, checkpoints, resuming, history."""

from lean3d.optional import expect

expect("lightning", extra="train")
