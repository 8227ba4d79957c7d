"""A software rasteriser in numba: no graphics library, one core, repeatable."""
