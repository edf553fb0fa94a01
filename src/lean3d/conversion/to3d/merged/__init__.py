"""Forwards that run with depth merged into another axis."""
