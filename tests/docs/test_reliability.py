"""docs/reliability.md: its table is that of the kept counts, its limits are those of the code."""

import json
import re
from pathlib import Path

import pytest

from jaxcv import limits
from scripts import soak

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_the_table_is_that_of_the_kept_counts():
    counts = json.loads(soak.RESULTS.read_text())["counts"]
    assert set(counts) == {"kills", "flips", "images", "files"}
    assert "\n".join(soak.table_lines(counts)) in PAGE.read_text()
    assert counts["kills"]["runs"] == counts["kills"]["of them equal"]
    assert not [name for numbers in counts.values() for name in numbers if "BAD" in name]


def test_every_test_that_is_named_is_there():
    named = set(re.findall(r"`((?!jaxcv/)[\w/]+\.py)`", PAGE.read_text()))
    assert named
    for name in named:
        assert (PAGE.parents[1] / "tests" / name).is_file(), name


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("pixels of a picture", f"{limits.MAX_PIXELS // 10**6} million"),
        ("scans of a JPEG", f"{limits.MAX_SCANS}, and scans x pixels {limits.MAX_SCAN_RATIO} x"),
        ("segments, chunks or blocks", f"{limits.MAX_PARTS:,}"),
        ("strips or tiles", f"{limits.MAX_STRIPS:,}; {limits.MAX_TIFF_TAGS:,}"),
        (
            "bytes of a picture",
            f"{limits.MAX_IMAGE_BYTES >> 30} GiB; {limits.MAX_FILE_BYTES >> 30} GiB",
        ),
        ("arrays of an", f"{limits.MAX_ARRAY_BYTES >> 30} GiB"),
        (
            "a gzipped IDX",
            f"{limits.MAX_IDX_BYTES >> 20} MiB; {limits.MAX_ARCHIVE_BYTES >> 20} MiB",
        ),
        ("instructions of a pickle", f"{limits.MAX_INSTRUCTIONS // 10**6} million"),
        ("classes without a record", f"{limits.MAX_EMPTY_CLASSES // 10**6} million"),
    ],
)
def test_limits_are_those_of_the_code(row, value):
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {row}")]
    assert value in line
