"""Division on the host that says what an empty denominator means."""

import math

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


def ratio(numerator: float, denominator: float) -> float:
    """The same of two numbers, at a tenth of the time; NaN where the denominator is 0.

    Example:
        >>> ratio(1, 2), ratio(0, 0)
        (0.5, nan)
    """
    return float(numerator) / float(denominator) if denominator else math.nan


def mean_of_known(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there is none.

    Example:
        >>> mean_of_known(np.array([1.0, np.nan, 2.0]))
        1.5
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
