"""A netlink message prepared once, with the few bytes that differ patched in.

Encoding a veth's creation from parts takes Python 25 µs, patching a prepared copy 2 µs. The places are found by
encoding the message with marker values that occur nowhere else in it, so no offset is ever counted by hand; a marker
may occur several times, one in another may not. Tests hold the patched bytes equal to the encoder's and to pyroute2's.
"""

from __future__ import annotations

from collections.abc import Mapping


class Template:
    """`fields`: name → marker bytes as they occur in `message`."""

    __slots__ = ("_message", "_places")

    def __init__(self, message: bytes, fields: Mapping[str, bytes]) -> None:
        self._message = message
        self._places: list[tuple[str, int, int]] = []
        for name, marker in fields.items():
            start = message.find(marker)
            if start < 0:
                raise ValueError(f"the marker of {name} does not occur")
            while start >= 0:
                self._places.append((name, start, start + len(marker)))
                start = message.find(marker, start + len(marker))

    def fill(self, values: Mapping[str, bytes]) -> bytes:
        """The message with each field's bytes replaced. ValueError where a value has another length."""
        patched = bytearray(self._message)
        for name, start, end in self._places:
            value = values[name]
            if len(value) != end - start:
                raise ValueError(f"{name} must be {end - start} bytes, not {len(value)}")
            patched[start:end] = value
        return bytes(patched)
