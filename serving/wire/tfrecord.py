"""TFRecord files: each record is its length and its bytes, both with a masked CRC-32C."""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c

from slipway.errors import IntegrityError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write `records` to the TFRecord file `path`, replacing what was there."""
    with path.open("wb") as file:
        for record in records:
            length = _LENGTH.pack(len(record))
            file.write(length + _CRC.pack(_masked_crc(length)) + record + _CRC.pack(_masked_crc(record)))


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of the TFRecord file `path`; IntegrityError at the first that is cut short or altered."""
    with path.open("rb") as file:
        while header := file.read(_LENGTH.size + _CRC.size):
            start = file.tell() - len(header)
            length = header[: _LENGTH.size]
            if len(header) < _LENGTH.size + _CRC.size or _masked_crc(length) != _CRC.unpack(header[_LENGTH.size :])[0]:
                raise _broken(path, start)
            body = file.read(_LENGTH.unpack(length)[0] + _CRC.size)
            record = body[: -_CRC.size]
            if len(record) != _LENGTH.unpack(length)[0] or _masked_crc(record) != _CRC.unpack(body[-_CRC.size :])[0]:
                raise _broken(path, start)
            yield record


def _broken(path: Path, offset: int) -> IntegrityError:
    return IntegrityError(f"{path}: the record at byte {offset} is cut short or altered. Write the file again.")
