import sys

import pytest

from jaxcv.faces.gallery import encryption
from jaxcv.faces.gallery.encryption import DecryptionError, Key, environment_key, new_key, parse_key

pytest.importorskip("cryptography")

KEY = Key(bytes(range(32)))


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 1000])
def test_round_trip_at_every_chunk_boundary(monkeypatch, size):
    monkeypatch.setattr(encryption, "CHUNK", 64)
    data = bytes(i % 251 for i in range(size))
    sealed = KEY.encrypt(data, b"context")
    assert KEY.decrypt(sealed, b"context") == data
    assert size < 16 or data[:16] not in sealed
    assert KEY.encrypt(data, b"context") != sealed  # another nonce each time


def test_every_change_is_noticed(monkeypatch):
    monkeypatch.setattr(encryption, "CHUNK", 64)
    sealed = KEY.encrypt(b"a" * 64 + b"b" * 64 + b"c" * 10, b"context")
    start = len(sealed) - 2 * (64 + 16) - (10 + 16)
    head, one, two, three = (
        sealed[:start],
        sealed[start : start + 80],
        sealed[start + 80 : start + 160],
        sealed[start + 160 :],
    )
    assert KEY.decrypt(head + one + two + three, b"context")
    changed = [
        head + two + one + three,  # order
        head + one + three,  # one left out
        head + one + two,  # the end cut off at a chunk
        head + one + one + two + three,  # one repeated
        sealed[:-1],
        sealed + b"x",
        b"",
        sealed[:10],
    ]
    changed += [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for data in changed:
        with pytest.raises(DecryptionError):
            KEY.decrypt(data, b"context")
    with pytest.raises(DecryptionError):
        KEY.decrypt(sealed, b"another context")
    with pytest.raises(DecryptionError, match="the key is another one, or the data was changed"):
        Key(bytes(32)).decrypt(sealed, b"context")


def test_agrees_with_aes_gcm_of_one_message():
    """One chunk is plain AES-256-GCM: nonce of prefix, number 0, last = 1."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = KEY.encrypt(b"data", b"context")
    prefix, rest = sealed[16:23], sealed[23:]
    nonce = prefix + b"\0\0\0\0\1"
    assert AESGCM(bytes(range(32))).decrypt(nonce, rest, b"context") == b"data"


def test_keys(monkeypatch):
    text = new_key()
    assert len(text) == 44
    assert text != new_key()
    assert parse_key(f" {text}\n") == parse_key(text)
    monkeypatch.setenv("JAXCV_GALLERY_KEY", text)
    assert environment_key() == parse_key(text)
    for empty in ("", " "):
        monkeypatch.setenv("JAXCV_GALLERY_KEY", empty)
        assert environment_key() is None
    for bad in ("a passphrase", text[:-4], "ä" * 44, text + "AAAA"):
        with pytest.raises(ValueError, match="44 characters. Make one with python -c") as error:
            parse_key(bad)
        assert bad not in str(error.value)


def test_a_key_does_not_show_itself():
    assert repr(KEY) == "Key()"
    assert KEY.name != Key(bytes(32)).name
    assert KEY.secret.hex()[:16] != KEY.name


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError, match=r"pip install .jaxcv\[privacy\]"):
        KEY.encrypt(b"", b"")
