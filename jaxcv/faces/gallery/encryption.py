"""Encryption at rest: AES-256-GCM in chunks, with a key from the environment.

The chunks are chained as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizar: Online Authenticated-
Encryption and its Nonce-Reuse Misuse-Resistance, 2015): each nonce holds a random prefix, the
chunk's number and whether it is the last, so that none can be left out, repeated or moved.

The header stays readable and is sealed with the same key, see `jaxcv.faces.gallery.header`.

What this does not do: hide how large a gallery is or by which model it was made, notice that the
whole directory was replaced by an older copy of itself or emptied, or protect the memory of a running
process.
"""

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import Any

VARIABLE = "JAXCV_GALLERY_KEY"
"""The environment variable that holds the key."""

_SIZE = 32
_MAGIC = b"jaxcv-aes-gcm-1\n"
_PREFIX = 7
_TAG = 16
CHUNK = 2**26
"""Bytes a chunk."""

_HOW = 'python -c "from jaxcv.faces.gallery.encryption import new_key; print(new_key())"'


class DecryptionError(ValueError):
    """Bytes that are not what was encrypted with this key."""


@dataclass(frozen=True)
class Key:
    """A 256-bit key.

    Attributes:
        secret: 32 random bytes; never shown.
    """

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Tells keys apart and gives nothing away: 16 hexadecimal digits of an HMAC-SHA-256."""
        return hmac.digest(self.secret, b"name of a jaxcv gallery key", "sha256").hex()[:16]

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """Encrypts `data`; `context` is not kept, but decrypting needs the same.

        Args:
            data: any bytes.
            context: what the data belongs to.
        """
        cipher, prefix = self._cipher(), os.urandom(_PREFIX)
        starts = range(0, max(len(data), 1), CHUNK)
        view = memoryview(data)
        chunks = [
            cipher.encrypt(_nonce(prefix, i, i + 1 == len(starts)), view[s : s + CHUNK], context)
            for i, s in enumerate(starts)
        ]
        return b"".join([_MAGIC, prefix, *chunks])

    def decrypt(self, data: bytes, context: bytes) -> bytes:
        """Gives back what was encrypted.

        Raises:
            DecryptionError: where key or context differ, or a bit of the data.
        """
        from cryptography.exceptions import InvalidTag

        cipher, start = self._cipher(), len(_MAGIC) + _PREFIX
        if not data.startswith(_MAGIC) or len(data) < start + _TAG:
            raise DecryptionError("it was not written by this version of jaxcv's encryption")
        prefix, view = data[len(_MAGIC) : start], memoryview(data)
        starts = range(start, len(data), CHUNK + _TAG)
        try:
            return b"".join(
                cipher.decrypt(
                    _nonce(prefix, i, i + 1 == len(starts)), view[s : s + CHUNK + _TAG], context
                )
                for i, s in enumerate(starts)
            )
        except InvalidTag:
            raise DecryptionError("the key is another one, or the data was changed") from None

    def seal(self, data: bytes) -> str:
        """A code that only this key makes of `data`, in hexadecimal: HMAC-SHA-256, its key derived.

        Compare codes with `hmac.compare_digest`.
        """
        derived = hmac.digest(self.secret, b"seal of a jaxcv gallery", "sha256")
        return hmac.digest(derived, data, "sha256").hex()

    def _cipher(self) -> Any:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ImportError(
                'an encrypted gallery needs cryptography: pip install "jaxcv[privacy]"'
            ) from None
        return AESGCM(self.secret)


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


def new_key() -> str:
    """Makes a key to put into the environment; whoever loses it loses the gallery."""
    return base64.urlsafe_b64encode(os.urandom(_SIZE)).decode()


def parse_key(text: str) -> Key:
    """Reads what `new_key` gave.

    Passphrases are refused: nothing here would stretch one.

    Raises:
        ValueError: where it is something else; the message does not repeat it.
    """
    try:
        secret = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _SIZE:
        raise ValueError(
            f"the key of the gallery ({VARIABLE}) is no key: it has to be {_SIZE} bytes in URL-safe "
            f"base64, 44 characters. Make one with {_HOW}"
        )
    return Key(secret)


def environment_key() -> Key | None:
    """The key in JAXCV_GALLERY_KEY, or None where that is unset or empty.

    Raises:
        ValueError: where it holds something else than a key.
    """
    text = os.environ.get(VARIABLE, "")
    return parse_key(text) if text.strip() else None


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
