"""Capturing at many interfaces of a lab at once, from a process inside it.

`python -m netlab.trace.observe REQUEST` says "ready" when all sockets are open, and writes one line a frame (JSON, or
text for a reader) until its standard input ends or it is interrupted. The filter runs in the kernel, in each socket.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import IO, TypeAlias

from netlab.api.types import Obj
from netlab.kernel import netns
from netlab.kernel.capture import Capture, capture
from netlab.trace.packet import decode
from netlab.trace.render import outer, summary
from netlab.trace.story import Frame

Writer: TypeAlias = "Callable[[Capture, Point, IO[str]], None]"


@dataclass(frozen=True, slots=True)
class Point:
    """Where to listen. `place` is what a reader calls it, `netns` the pinned namespace; "" means every interface."""

    place: str
    netns: str
    interface: str = ""


def request(points: Iterable[Point], expression: str, text: bool = False) -> str:
    """The argument that an observer is started with."""
    return json.dumps({"points": [asdict(point) for point in points], "filter": expression, "text": text})


def frame(entry: Obj) -> Frame:
    """One line of an observer as a Frame."""
    packet = decode(base64.b64decode(entry["data"]))
    return Frame(entry["time"] / 1e9, entry["place"], entry["interface"], entry["direction"], packet)


def main(asked: Obj, source: IO[str] = sys.stdin, target: IO[str] = sys.stdout) -> None:
    """The observer's process."""
    write = _write_text if asked["text"] else _write_json
    with selectors.DefaultSelector() as selector:
        opened = [_open(selector, Point(**point), asked["filter"]) for point in asked["points"]]
        with contextlib.suppress(PermissionError):  # a file, or /dev/null: then only an interruption ends it
            selector.register(source, selectors.EVENT_READ, None)
        if not asked["text"]:
            print(json.dumps({"ready": len(opened)}), file=target, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while _turn(selector, source, target, write):
                pass
        for point, sight in opened:
            write(sight, point, target)  # what arrived while the end was told
            _say_dropped(point, sight, asked["text"], target)
            sight.close()
    target.flush()


def _say_dropped(point: Point, sight: Capture, text: bool, target: IO[str]) -> None:
    lost = sight.dropped()
    if not text:
        print(json.dumps({"place": point.place, "dropped": lost}), file=target)
    elif lost:
        print(f"{point.place}: {lost} frames lost because the reader was too slow", file=target)


def _open(selector: selectors.BaseSelector, point: Point, expression: str) -> tuple[Point, Capture]:
    sight = capture(netns.open(point.netns), point.interface, expression=expression)
    selector.register(sight.fileno(), selectors.EVENT_READ, (point, sight))
    return point, sight


def _turn(selector: selectors.BaseSelector, source: IO[str], target: IO[str], write: Writer) -> bool:
    """Wait for frames or for the end of the input; False when it came."""
    for key, _ in selector.select():
        if key.data is None:
            if not os.read(source.fileno(), 4096):
                return False
        else:
            point, sight = key.data
            write(sight, point, target)
    target.flush()
    return True


def _write_json(sight: Capture, point: Point, target: IO[str]) -> None:
    for seen in sight.read():
        entry = {
            "time": seen.time,
            "place": point.place,
            "interface": seen.interface,
            "direction": seen.direction,
            "data": base64.b64encode(seen.data).decode(),
        }
        print(json.dumps(entry), file=target)


def _write_text(sight: Capture, point: Point, target: IO[str]) -> None:
    for seen in sight.read():
        packet = decode(seen.data)
        encapsulation = f"{outer(packet)} ▸ " if packet.inner else ""
        clock = time.strftime("%H:%M:%S", time.localtime(seen.time // 10**9)) + f".{seen.time // 1000 % 10**6:06d}"
        where = f"{point.place} {seen.interface} {seen.direction}"
        print(f"{clock}  {where:<28}  {encapsulation}{summary(packet)}", file=target)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
