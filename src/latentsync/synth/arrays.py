"""Array types of the renderer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[Any]
"""Floating-point array of either precision, where geometry is built once and not per frame."""
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
