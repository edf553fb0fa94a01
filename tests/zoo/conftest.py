"""The zoos must be made importable before anything looks for torchvision; see benchmarks/zoo.py."""

import zoo  # noqa: F401
