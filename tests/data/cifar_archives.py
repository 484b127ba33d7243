"""CIFAR archives in the official binary format, made small."""

import io
import tarfile

import numpy as np


def write_archive(where, files):
    """Writes a .tar.gz to a path or an open file."""
    place = {"fileobj": where} if hasattr(where, "write") else {"name": where}
    with tarfile.open(**place, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def cifar_rows(count, seed, *label_counts):
    """Records of the binary CIFAR format: label bytes, then 3,072 bytes of channel planes."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, n, count) for n in label_counts], 1)
    pixels = rng.integers(0, 256, (count, 3072))
    return np.concatenate([labels, pixels], 1).astype(np.uint8)
