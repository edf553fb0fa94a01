"""Evaluate finished runs: one file a task, one driver for all."""

from lean3d.recipes.evaluation.base import (
    Evaluation,
    Score,
    Scored,
    open_run,
    register_evaluation,
)
from lean3d.recipes.evaluation.driver import Result, evaluate
from lean3d.recipes.evaluation.settings import Settings

__all__ = [
    "Evaluation",
    "Result",
    "Score",
    "Scored",
    "Settings",
    "evaluate",
    "open_run",
    "register_evaluation",
]
