"""The command line: a table for people, one line of JSON last, errors in one sentence."""

from lean3d.cli.app import main

__all__ = ["main"]
