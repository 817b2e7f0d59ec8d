"""Transforms of columns: compiled steps, put together in chains that are read one way and written the other. Pure."""
