"""The protobuf wire format: a message is a sequence of (field number, value)."""

from __future__ import annotations

from collections.abc import Iterator

_MAX_VARINT = 10


class MalformedError(ValueError):
    """Bytes that are no message, or a value that does not fit its field."""


def varint(data: bytes, position: int) -> tuple[int, int]:
    """(unsigned value, position after it)."""
    value = shift = 0
    for count in range(_MAX_VARINT):
        if position + count >= len(data):
            raise MalformedError("unexpected EOF")
        byte = data[position + count]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + count + 1
        shift += 7
    raise MalformedError("integer overflow")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field: varints as unsigned int, everything else as bytes (8 for fixed64, 4 for fixed32)."""
    position, end = 0, len(data)
    while position < end:
        tag, position = varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError(f"illegal tag {number} (wire type {wire_type})")
        if wire_type == 0:
            value, position = varint(data, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = varint(data, position)
        elif wire_type == 1:
            length = 8
        elif wire_type == 5:
            length = 4
        else:
            raise MalformedError(f"illegal wire type {wire_type}")
        if position + length > end:
            raise MalformedError("unexpected EOF")
        yield number, data[position : position + length]
        position += length


def signed(value: int) -> int:
    """A varint as int64 (int32 is sent sign-extended)."""
    return value - (1 << 64) if value >> 63 else value
