"""What is said of a record that cannot be decoded, where that ends a run: which others cannot either."""

from __future__ import annotations

from typing import Any

from jaxcv.data.decode import DecodeError
from jaxcv.errors import listed

# Records that are tried after a bad one, and the most that are named.
_TRIED, _NAMED = 200, 10


def with_others(source: Any, index: int, error: DecodeError) -> DecodeError:
    """The error with the names of other bad records, so that all are mended at once, or skipped.

    Of a large source the next 200 records are tried, from the start again after the last; the message
    says how many.

    Args:
      source: the records.
      index: of the bad record.
      error: why it is bad.
    """
    count = len(source)
    tried, others = 0, []
    for step in range(1, min(_TRIED + 1, count)):
        tried += 1
        other = (index + step) % count
        try:
            source[other]
        except DecodeError:
            others.append(source.record_name(other))
            if len(others) == _NAMED:
                break
        except ValueError:
            continue  # Wrong in another way, which is said in its turn.
    also = (
        f"; {len(others)} of {tried} other records that were tried are unreadable too: "
        f"{listed(others, _NAMED)}"
    )
    advice = "; mend or remove what is unreadable, or train with --on-bad-record skip"
    return DecodeError(error.record, f"{error.reason}{also if others else ''}{advice}")
