"""Training sets in InsightFace's RecordIO format, written byte by byte for the tests."""

import struct

MAGIC = b"\x0a\x23\xd7\xce"


def packed(labels, payload=b"", identifier=0):
    """IRHeader and payload; a list of labels is stored behind the header, as flag > 0 says."""
    if isinstance(labels, list):
        header = struct.pack("<IfQQ", len(labels), 0.0, identifier, 0)
        return header + struct.pack(f"<{len(labels)}f", *labels) + payload
    return struct.pack("<IfQQ", 0, labels, identifier, 0) + payload


def framed(data):
    """One record as dmlc-core writes it: in parts, where it holds the magic at a multiple of 4."""
    cuts = [i for i in range(0, len(data) - 3, 4) if data[i : i + 4] == MAGIC]
    starts, ends = [0, *(c + 4 for c in cuts)], [*cuts, len(data)]
    parts = [data[a:b] for a, b in zip(starts, ends)]
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    written = b""
    for flag, part in zip(flags, parts):
        padding = b"\0" * (-len(part) % 4)
        written += MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + padding
    return written


def write_records(folder, records, *, properties=None, stem="train"):
    """Writes `records` {key: bytes}; gives {key: position}."""
    positions, data = {}, b""
    for key, record in records.items():
        positions[key] = len(data)
        data += framed(record)
    (folder / f"{stem}.rec").write_bytes(data)
    lines = [f"{key}\t{position}\n" for key, position in positions.items()]
    (folder / f"{stem}.idx").write_text("".join(lines))
    if properties is not None:
        (folder / "property").write_text(properties)
    return positions


def record_set(people):
    """{key: bytes} for `people`, a list of lists of encoded images, with records of identities."""
    images = {}
    ranges = []
    for label, faces in enumerate(people):
        ranges.append([len(images) + 1, len(images) + 1 + len(faces)])
        for face in faces:
            images[len(images) + 1] = packed(float(label), face)
    first = len(images) + 1
    identities = {first + i: packed([float(a), float(b)]) for i, (a, b) in enumerate(ranges)}
    return {0: packed([float(first), float(first + len(ranges))]), **images, **identities}
