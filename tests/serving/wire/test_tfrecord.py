"""TFRecord files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.wire.tfrecord import read_records, write_records
from slipway.errors import IntegrityError


@given(records=st.lists(st.binary(max_size=200), max_size=5))
def test_records_come_back_as_they_were_written(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("tfrecord") / "records"
    write_records(path, records)
    assert list(read_records(path)) == records


def test_bytes_are_those_of_the_format(tmp_path):
    path = tmp_path / "records"
    write_records(path, [b"abc"])
    # length, masked CRC-32C of it, data, masked CRC-32C of it: as TensorFlow's writer gives it
    assert path.read_bytes().hex() == "0300000000000000" + "b099490e" + "616263" + "6e57f121"


@pytest.mark.parametrize("position", range(19))
def test_any_byte_altered_is_noticed(tmp_path, position):
    path = tmp_path / "records"
    write_records(path, [b"abc"])
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="byte 0"):
        list(read_records(path))


@pytest.mark.parametrize("size", [1, 8, 12, 15, 18])
def test_a_file_cut_short_is_noticed(tmp_path, size):
    path = tmp_path / "records"
    write_records(path, [b"abc"])
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IntegrityError, match="cut short"):
        list(read_records(path))
