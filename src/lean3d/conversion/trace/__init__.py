"""How a forward is watched, and what is asked of the record."""
