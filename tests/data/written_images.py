"""Image files written by hand, so that what is stored in them is known: TIFF, PNG, BMP, PNM."""

import struct
import zlib

import numpy as np


def packed(levels, bits, order=">"):
    """Rows of samples as bytes: each row in whole bytes, samples of fewer than 8 bits from the high end.

    Those of 8 bits and more keep their kind: unsigned, signed or float.
    """
    levels = np.asarray(levels)
    rows = levels.reshape(len(levels), -1)
    if bits in (8, 16, 32):
        kind = levels.dtype.kind
        return [row.astype(f"{order}{kind}{bits // 8}").tobytes() for row in rows]
    spread = (rows[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row).tobytes() for row in spread.reshape(len(rows), -1)]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(levels, bits, colour=0, before=(), after=()):
    """A PNG of unfiltered rows. `before` and `after` the pixels: (kind, body) or ready chunks."""
    height, width = np.shape(levels)[:2]
    stream = zlib.compress(b"".join(b"\0" + row for row in packed(levels, bits)))
    ready = [[c if isinstance(c, bytes) else chunk(*c) for c in part] for part in (before, after)]
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
            *ready[0],
            chunk(b"IDAT", stream),
            *ready[1],
            chunk(b"IEND", b""),
        )
    )


def _compressed(piece, compression):
    return zlib.compress(piece) if compression == 8 else piece


def tiff(
    samples,
    bits,
    *,
    photometric=1,
    number=1,
    order="<",
    big=False,
    orientation=None,
    rows_per_strip=None,
    tile=None,
    planar=1,
    compression=1,
    extra=(),
    more=(),
):
    """A TIFF of [H, W] or [H, W, S] samples.

    Args:
      tile: (height, width) of tiles, in place of strips.
      compression: 1, none, or 8, deflate.
      extra: ExtraSamples.
      more: further tags, (tag, type, values).
    """
    samples = np.asarray(samples)
    stacked = samples if samples.ndim == 3 else samples[..., None]
    height, width, count = stacked.shape
    planes = [stacked[..., i : i + 1] for i in range(count)] if planar == 2 else [stacked]
    pieces = []
    for plane in planes:
        if tile is None:
            step = rows_per_strip or height
            cut = [plane[top : top + step] for top in range(0, height, step)]
        else:
            full = np.zeros(
                (-(-height // tile[0]) * tile[0], -(-width // tile[1]) * tile[1], plane.shape[2]),
                plane.dtype,
            )
            full[:height, :width] = plane
            cut = [
                full[top : top + tile[0], left : left + tile[1]]
                for top in range(0, height, tile[0])
                for left in range(0, width, tile[1])
            ]
        pieces += [_compressed(b"".join(packed(part, bits, order)), compression) for part in cut]
    tags = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * count),
        (259, 3, [compression]),
    ]
    tags += [(262, 3, [photometric]), (277, 3, [count]), (284, 3, [planar])]
    tags += [(339, 3, [number] * count)]
    tags += [(274, 3, [orientation])] if orientation else []
    tags += [(338, 3, list(extra))] if extra else []
    tags += list(more)
    lengths = [len(piece) for piece in pieces]
    data = b"".join(pieces) + bytes(sum(lengths) % 2)
    head = 16 if big else 8
    places = (head + np.cumsum([0, *lengths[:-1]])).tolist()
    if tile is None:
        tags += [(273, 4, places), (278, 4, [rows_per_strip or height]), (279, 4, lengths)]
    else:
        tags += [(322, 4, [tile[1]]), (323, 4, [tile[0]]), (324, 4, places), (325, 4, lengths)]
    return _with_tags(data, sorted(tags), order, big)


def _with_tags(data, tags, order, big):
    number, small = ("Q", 8) if big else ("I", 4)
    head = 16 if big else 8
    start = head + len(data)
    after = start + (8 if big else 2) + len(tags) * (20 if big else 12) + small
    directory, values = struct.pack(order + ("Q" if big else "H"), len(tags)), b""
    for tag, kind, found in tags:
        code = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 12: "d"}[kind]
        body = struct.pack(f"{order}{len(found)}{code}", *found)
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(found))
        if len(body) <= small:
            directory += body.ljust(small, b"\0")
        else:
            directory += struct.pack(order + number, after + len(values))
            values += body + bytes(len(body) % 2)
    first = b"II" if order == "<" else b"MM"
    if big:
        header = first + struct.pack(order + "HHHQ", 43, 8, 0, start)
    else:
        header = first + struct.pack(order + "HI", 42, start)
    return header + data + directory + struct.pack(order + number, 0) + values


def portable_map(levels, maximum, plain=False, comment=b""):
    """A PGM or PPM; maximum None writes a PBM of 0 and 1."""
    levels = np.asarray(levels)
    height, width = levels.shape[:2]
    kind = (1 if maximum is None else 3 if levels.ndim == 3 else 2) + (0 if plain else 3)
    top = b"" if maximum is None else b"%d\n" % maximum
    head = b"P%d\n%s%d %d\n%s" % (kind, comment, width, height, top)
    if plain:
        return head + b" ".join(b"%d" % level for level in levels.ravel().tolist()) + b"\n"
    bits = 1 if maximum is None else 8 if maximum < 256 else 16
    return head + b"".join(packed(levels, bits))


def bmp(levels, bits, palette, colours=None):
    """An uncompressed BMP of indices; palette: [(red, green, blue)]."""
    height, width = np.shape(levels)
    rows = [row + bytes(-len(row) % 4) for row in packed(levels, bits)][::-1]
    colors = b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette)
    body, offset = b"".join(rows), 54 + len(colors)
    return b"".join(
        (
            b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset),
            struct.pack("<IiiHHII", 40, width, height, 1, bits, 0, len(body)),
            struct.pack("<iiII", 0, 0, len(palette) if colours is None else colours, 0),
            colors,
            body,
        )
    )
