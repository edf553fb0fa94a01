"""Errors that users can act on: who raised it, what was expected, what was got, what to do."""

__all__ = [
    "ConversionError",
    "DataError",
    "LeanError",
    "MissingExtraError",
    "RunError",
    "ShapeError",
]


class LeanError(ValueError):
    """An input of the user cannot be used. The command line prints it and exits with code 2."""


class ShapeError(LeanError):
    """A tensor has the wrong axes for the module that received it."""


class ConversionError(LeanError):
    """A module cannot be converted without changing what it computes."""


class DataError(LeanError):
    """A file or folder does not hold the expected data."""


class RunError(LeanError):
    """A recipe, run folder or setting cannot be used."""


class MissingExtraError(LeanError, ImportError):
    """A feature needs a package that is not installed."""
