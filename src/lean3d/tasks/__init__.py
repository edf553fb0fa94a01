"""Training tasks: a model with its loss, its metric and its step."""

from lean3d.optional import require

# imported here once, so that every task gives the same error if the trainer is not installed
require("lightning.pytorch", extra="train")
