"""2D-to-3D conversion."""
