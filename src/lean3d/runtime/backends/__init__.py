"""Backends of `optimize`, one a file; another package registers its own with `register_backend`."""
