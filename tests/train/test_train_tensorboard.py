"""Event files: framing and checksums by known values, and as TensorBoard itself reads them."""

import math
import struct

import pytest

from jaxcv.train.tensorboard import EventFile, crc32c, record


@pytest.mark.parametrize(
    ("data", "wanted"),  # RFC 3720, appendix B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksum_is_that_of_the_standard(data, wanted):
    assert crc32c(data) == wanted


def test_record_is_length_data_and_two_checksums():
    framed = record(b"abc")
    assert framed[:8] == struct.pack("<Q", 3)
    assert framed[12:15] == b"abc"
    assert len(framed) == 8 + 4 + 3 + 4


def test_tensorboard_reads_the_scalars_and_forgets_what_a_restart_purges(tmp_path):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = EventFile(tmp_path, purge_step=1)
    for step in (1, 2, 300, 70_000):
        first.add_scalar("train/loss", 1 / step, step)
    first.add_scalar("test/genauigkeit ä", -math.pi, 2**40)
    first.close()
    second = EventFile(tmp_path, purge_step=300)
    second.add_scalar("train/loss", 0.5, 300)
    second.close()
    assert len(list(tmp_path.iterdir())) == 2
    accumulator = module.EventAccumulator(str(tmp_path))
    accumulator.Reload()
    losses = [(event.step, event.value) for event in accumulator.Scalars("train/loss")]
    assert losses == [(1, 1.0), (2, 0.5), (300, 0.5)]
    assert accumulator.Tags()["scalars"] == ["train/loss", "test/genauigkeit ä"]
    assert accumulator.Scalars("test/genauigkeit ä") == []


def test_numbers_keep_their_step_and_float32_value(tmp_path):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = EventFile(tmp_path / "made", purge_step=0)
    events.add_scalar("a", -math.pi, 2**40)
    events.close()
    accumulator = module.EventAccumulator(str(tmp_path / "made"))
    accumulator.Reload()
    (event,) = accumulator.Scalars("a")
    assert event.step == 2**40
    assert event.value == struct.unpack("<f", struct.pack("<f", -math.pi))[0]
