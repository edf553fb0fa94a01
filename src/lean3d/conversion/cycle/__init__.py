"""Networks whose blocks run on the planes of a volume in turn, unchanged."""
