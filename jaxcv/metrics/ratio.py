"""Division on the host that says what an empty denominator means."""

import numpy as np


def divide(numerator: np.ndarray, denominator: np.ndarray, *, empty: float) -> np.ndarray:
    """`numerator / denominator` in float64, and `empty` where the denominator is 0.

    Example:
        >>> divide(np.array([1, 0]), np.array([2, 0]), empty=0.0).tolist()
        [0.5, 0.0]
    """
    numerator = np.asarray(numerator, np.float64)
    denominator = np.asarray(denominator, np.float64)
    is_empty = denominator == 0
    return np.where(is_empty, empty, numerator / np.where(is_empty, 1.0, denominator))
