"""Change modules in place, and copies of models."""
