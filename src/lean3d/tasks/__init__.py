"""What is learnt: a model with its loss, its metric and its step."""

from lean3d.optional import require

# named here once, so that every task says the same when the trainer is not installed
require("lightning.pytorch", extra="train")
