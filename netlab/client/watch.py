"""Lines and events out of a watch's bytes.

Many informers of one process often watch the same collection (twenty nodes watch Services). The same event reaches
each of them as the same bytes, so decoding is shared by those bytes: one decode, one object, read-only for all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

Event = tuple[str, dict[str, Any]]


class DecodeCache:
    """Remembers what the last `limit` to `2 * limit` distinct lines decoded to; two generations, no bookkeeping."""

    def __init__(self, limit: int = 2048) -> None:
        self._limit = limit
        self._young: dict[bytes, Any] = {}
        self._old: dict[bytes, Any] = {}
        self.hits = 0

    def get(self, raw: bytes) -> Any:
        """What `raw` decoded to, or None."""
        value = self._young.get(raw)
        if value is None:
            value = self._old.get(raw)
            if value is None:
                return None
            self._young[raw] = value
        self.hits += 1
        return value

    def put(self, raw: bytes, value: Any) -> None:
        if len(self._young) >= self._limit:
            self._old, self._young = self._young, {}
        self._young[raw] = value


_events: DecodeCache | None = None
_lists: DecodeCache | None = None


def share_decoding(events: int = 2048, lists: int = 8) -> None:
    """Turn the process-wide cache on: for processes in which many informers watch the same things."""
    global _events, _lists  # one cache a process is the point
    _events, _lists = DecodeCache(events), DecodeCache(lists)


def stop_sharing() -> None:
    """Turn the cache off and forget what it holds."""
    global _events, _lists
    _events = _lists = None


def decode_event(line: bytes) -> Event:
    """(type, object) of one line. Raises orjson.JSONDecodeError."""
    cache = _events
    if cache is not None:
        found = cache.get(line)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raw = orjson.loads(line)
    event = (raw["type"], raw["object"])
    if cache is not None:
        cache.put(line, event)
    return event


def decode_list(body: bytes) -> dict[str, Any]:
    """A List object, its items completed with the apiVersion and kind that lists leave out."""
    cache = _lists
    if cache is not None:
        found = cache.get(body)
        if found is not None:
            return found  # type: ignore[no-any-return]
    result: dict[str, Any] = orjson.loads(body)
    items = result.get("items")
    if items is None:
        result["items"] = []
    elif items and "kind" not in items[0]:
        api_version, kind = result.get("apiVersion", ""), str(result.get("kind", "")).removesuffix("List")
        result["items"] = [{"apiVersion": api_version, "kind": kind, **item} for item in items]
    if cache is not None:
        cache.put(body, result)
    return result


async def line_batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The whole lines that each chunk completes. Linear in the bytes, however a line is cut up."""
    pending: list[bytes] = []
    async for chunk in chunks:
        if b"\n" not in chunk:
            pending.append(chunk)
            continue
        lines = chunk.split(b"\n")
        if pending:
            pending.append(lines[0])
            lines[0] = b"".join(pending)
            pending = []
        last = lines.pop()
        if last:
            pending.append(last)
        yield [line for line in lines if line]
