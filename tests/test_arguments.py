"""Checks of settings: what passes, what does not, and what their messages say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import arguments

UNIT = r"x is .*, but must be in \[0.0, 1.0\]"


@pytest.mark.parametrize(
    ("check", "rest", "good", "bad", "message"),
    [
        ("choice", [("a", "b")], ["a"], ["c", 1, None], r"x is .*, but must be 'a' or 'b'"),
        ("choice", [("a", "b", "c")], ["c"], ["d"], r"x is 'd', but must be 'a', 'b' or 'c'"),
        ("choice", [("a",)], ["a"], ["b"], r"x is 'b', but must be 'a'"),
        ("range", [0.0, 1.0], [0, 1.0, [0.0, 0.5]], [-0.1, 1.1, np.nan, [0, 2]], UNIT),
        ("range", [2], [2, 1e30, np.inf], [1, -np.inf], r"x is .*, but must be in \[2, inf\]"),
        ("positive", [], [1e-30, 3], [0, -1, np.inf, np.nan], r"x is .*, but must be in \(0.0, inf\)"),
        ("non_negative", [], [0, 3], [-1e-30, np.inf, np.nan], r"x is .*, but must be in \[0.0, inf\)"),
        ("probability", [], [0, 0.5, 1], [-0.1, 1.1, np.nan], UNIT),
        ("interval", [0, 1], [(0, 1), [0.5, 0.5]], [(0.6, 0.5), (0, 2), (1,), (0, np.nan)], "within .0, 1"),
        ("count", [], [1, np.int32(2)], [0, -1, 1.0, True, "1"], "x is .*, but must be a whole number"),
    ],
)  # fmt: skip
def test_what_passes_and_what_does_not(check, rest, good, bad, message):
    function = getattr(arguments, f"check_{check}")
    for value in good:
        function("x", value, *rest)
    for value in bad:
        with pytest.raises(ValueError, match=message):
            function("x", value, *rest)


def test_open_ends_are_left_out():
    for value in (0.0, 1.0):
        arguments.check_range("x", value, 0.0, 1.0)
        with pytest.raises(ValueError, match=rf"x is {value}, but must be in \(0.0, 1.0\)"):
            arguments.check_range("x", value, 0.0, 1.0, open_low=True, open_high=True)


def test_what_is_known_is_checked_while_tracing_and_what_is_traced_passes():
    def checked(x, y):
        arguments.check_probability("x", x)
        return y

    assert jax.jit(checked)(7.0, 1.0) == 1.0
    arguments.check_probability("x", jnp.array([0.0, 1.0]))
    known = jnp.float32(7.0)
    with pytest.raises(ValueError, match="x is 7.0, but must be in"):
        jax.jit(lambda y: checked(known, y))(1.0)
