"""2D networks to 3D ones."""
