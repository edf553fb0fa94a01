"""The self-check of 2D-to-3D conversions."""
