"""Chips, and what the text of a program that XLA has optimised says of its cost."""

import math
import re
from typing import NamedTuple


class Chip(NamedTuple):
    """What a chip can do at most."""

    flops: float  # operations a second in bfloat16, which is how XLA multiplies float32 by default
    bandwidth: float  # bytes a second between memory and chip


# v5e and v6e: Google Cloud's documentation, "Key specifications" (docs.cloud.google.com/tpu/docs/v6e has
# both), read in November 2026. v4 and v5p are from secondary sources that agree with one another.
CHIPS = {
    "v4": Chip(275e12, 1228e9),
    "v5e": Chip(197e12, 819e9),
    "v5p": Chip(459e12, 2765e9),
    "v6e": Chip(918e12, 1640e9),
}

_BITS = {"pred": 8, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|f8\w+|c64|c128)\[([\d,]*)\]")
_COLLECTIVE = re.compile(
    r"^\s*(?:ROOT )?%\S+ = (?P<type>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all"
    r"|ragged-all-to-all|collective-permute|collective-broadcast)(?P<half>-start|-done)?\(",
    re.MULTILINE,
)


def roofline_ms(chip: Chip, flops: float, bytes_accessed: float) -> float:
    """The least time for so many operations and bytes: whichever takes longer, the other hidden."""
    return 1e3 * max(flops / chip.flops, bytes_accessed / chip.bandwidth)


def type_bytes(hlo_type: str) -> int:
    """Bytes of an HLO type, an array or a tuple of them, without what a layout pads.

    Example:
        >>> type_bytes("(f32[64,128]{1,0:T(8,128)}, bf16[3]{0}, s32[]{:T(128)})")
        32778
    """
    total = 0
    for name, sizes in _ARRAY.findall(hlo_type):
        bits = _BITS.get(name) or int(re.findall(r"\d+", name)[0])
        total += math.prod(int(size) for size in sizes.split(",") if size) * bits // 8
    return total


def collectives(hlo: str) -> dict[str, list[int]]:
    """{kind: [number, bytes of the results on a chip]} in the text of an optimised program.

    One that is started and awaited later is counted once, where it is done.
    """
    found: dict[str, list[int]] = {}
    for match in _COLLECTIVE.finditer(hlo):
        if match["half"] != "-start":
            kind = found.setdefault(match["kind"], [0, 0])
            kind[0] += 1
            kind[1] += type_bytes(match["type"])
    return found


def loops(hlo: str) -> int:
    """How many loops a program has: XLA counts the operations in each once."""
    return len(re.findall(r" while\(", hlo))


def slowest(hlo: str, count: int) -> list[tuple[float, str]]:
    """The instructions that the compiler expects to take most of the time, with their parts of the sum.

    Those in a loop are counted once, those that overlap each by itself.
    """
    found = []
    for line in hlo.splitlines():
        cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
        if cycles:
            made = re.search(r"= (\S+|\(.*?\)) ([\w-]+)\(", line)
            source = re.search(r'op_name="([^"]*)"', line)
            what = f"{made[2]} {made[1]}" if made else line.strip()[:80]
            found.append((int(cycles[1]), f"{what}  {source[1] if source else ''}"))
    total = sum(cycles for cycles, _ in found) or 1
    return [(cycles / total, what) for cycles, what in sorted(found, reverse=True)[:count]]
