"""Capturing at many interfaces of a lab at once, from a process inside it.

`python -m netlab.trace.observe REQUEST` opens a ring at every place, merges what is seen in time, and writes it to its
standard output as pcapng, as text, or as JSON lines (the first says "ready" when all are open), until its standard
input ends, it is interrupted, or as much as was asked for has been seen. Filters run in the kernel.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Literal

from netlab.api.types import Obj
from netlab.kernel import conntrack, netns
from netlab.kernel.errors import KernelError
from netlab.kernel.nlsocket import NetlinkSocket
from netlab.kernel.ring import BLOCK, RETIRE, open_ring
from netlab.trace.follow import Flow, Follower, Tuple5
from netlab.trace.merge import Merge, Seen, Tap, exact
from netlab.trace.packet import decode
from netlab.trace.sinks import Labels, LineSink, PcapngSink, Sink
from netlab.trace.story import Frame

Format = Literal["json", "text", "pcapng"]

RINGS = 96 << 20
"""Bytes of all rings together: kernel memory."""
LARGEST, SMALLEST = 16 << 20, 4 * BLOCK
FEW = 12
"""Rings of which each has enough blocks."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where to listen. `place` is what a reader calls it, `netns` the pinned namespace ("": the lab's own).

    `interface`: a name, patterns with commas between them, or "" for every one."""

    place: str
    netns: str
    interface: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What else an observer is asked for. `count` 0 and `seconds` 0: no end. `nodes`: whose conntrack to follow."""

    count: int = 0
    seconds: float = 0.0
    flow: Flow | None = None
    nodes: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)


def request(
    points: Iterable[Point],
    expression: str,
    text: bool = False,
    *,
    form: Format | None = None,
    wanted: Wanted | None = None,
) -> str:
    """The argument that an observer is started with."""
    return json.dumps(
        {
            "points": [asdict(point) for point in points],
            "filter": expression,
            "format": form or ("text" if text else "json"),
            **asdict(wanted or Wanted()),
        }
    )


def frame(entry: Obj) -> Frame:
    """One JSON line of an observer as a Frame."""
    packet = decode(base64.b64decode(entry["data"]))
    return Frame(entry["time"] / 1e9, entry["place"], entry["interface"], entry["direction"], packet)


def ring_size(taps: int) -> int:
    """Bytes of each ring where there are so many."""
    return max(SMALLEST, min(LARGEST, RINGS // max(taps, 1)) // BLOCK * BLOCK)


def retire_of(taps: int) -> int:
    """Milliseconds for which each ring keeps a block that is not full."""
    return RETIRE if taps <= FEW else RETIRE * 5


def main(asked: Obj, source: IO[str] = sys.stdin, target: IO[str] = sys.stdout) -> int:
    """The observer's process; its exit status."""
    labels = Labels(**{**asked["labels"], "expression": asked["filter"]})
    follower = Follower(_flow(asked["flow"])) if asked["flow"] else None
    points = [Point(**point) for point in asked["points"]]
    try:
        listening = Conntrack(asked["nodes"], follower) if follower else None
        taps = [_tap(point, asked["filter"], len(points)) for point in points]
    except (KernelError, ValueError) as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    if asked["format"] == "pcapng":
        sink: Sink = PcapngSink(target.fileno(), labels, follower)
    else:
        sink = LineSink(target, labels, follower, text=asked["format"] == "text")
    stop = Stop(source, asked["count"], asked["seconds"])
    try:
        _observe(Merge(taps, retire_of(len(taps))), sink, stop, listening)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
    return 0


def _flow(data: Obj) -> Flow:
    return Flow(tuple((a, p) for a, p in data["clients"]), tuple((a, p) for a, p in data["servers"]), data["protocol"])


def _tap(point: Point, expression: str, number: int) -> Tap:
    with netns.open(point.netns) if point.netns else netns.own() as ns:
        sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        there = ns.run(socket.if_nameindex)
    one = point.interface if exact(point.interface) else ""
    try:
        ring = open_ring(sock, one, expression=expression, size=ring_size(number), retire=retire_of(number))
    except KernelError as problem:
        known = f"there are: {', '.join(sorted(name for _, name in there))}" if problem.errno == errno.ENODEV else ""
        raise KernelError(problem.errno or 0, f"{point.place}: capture on {one or 'all interfaces'}", known) from None
    return Tap(point.place, ring, point.interface)


class Conntrack:
    """The tracking tables of all nodes, kept up with for a follower."""

    def __init__(self, nodes: Sequence[str], follower: Follower) -> None:
        self.follower = follower
        self.streams: list[NetlinkSocket] = []
        for name in nodes:
            with netns.open(name) as ns:
                self.streams.append(conntrack.subscribe(ns))
                follower.learn_all(_tuples(entry) for entry in conntrack.entries(ns))

    def read(self) -> None:
        """What has been told since; a table that told too much at once has told enough of what matters."""
        for stream in self.streams:
            with contextlib.suppress(OSError):
                for event, entry in conntrack.events(stream):
                    if event == "destroy":
                        self.follower.forget(*_tuples(entry))
                    else:
                        self.follower.learn(*_tuples(entry))


def _tuples(entry: conntrack.Entry) -> tuple[Tuple5, Tuple5]:
    one, two = entry.original, entry.reply
    return (entry.proto, one.src, one.sport, one.dst, one.dport), (entry.proto, two.src, two.sport, two.dst, two.dport)


class Stop:
    """When it is enough."""

    def __init__(self, source: IO[str], count: int, seconds: float) -> None:
        self.source, self.left = source, count or -1
        self.deadline = time.monotonic() + seconds if seconds else float("inf")
        self.now = False
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, self._interrupted)

    def _interrupted(self, *_: object) -> None:
        self.now = True

    def told(self) -> None:
        """Standard input is readable: its end is ours."""
        if not os.read(self.source.fileno(), 4096):
            self.now = True

    @property
    def reached(self) -> bool:
        return self.now or self.left == 0 or time.monotonic() >= self.deadline


def _observe(merge: Merge, sink: Sink, stop: Stop, listening: Conntrack | None) -> None:
    poll = select.poll()
    hurried = False
    for tap in merge.taps:
        poll.register(tap.ring.fileno(), select.POLLIN)
    stdin = stop.source.fileno()
    if _can_wait(stdin):
        poll.register(stdin, select.POLLIN)
    sink.begin(merge.taps)
    while not stop.reached:
        if hurried:
            time.sleep(0.01)  # the rings hold more than that
        for fd, _ in poll.poll(0 if merge.busy else 20):
            if fd == stdin:
                stop.told()
        merge.drain()
        hurried = merge.hurried
        for _ in range(0 if hurried else 4):  # then the rings are looked at again
            if not merge.step():
                break
        _write(merge.ready(), sink, stop, listening)
    if stop.left:
        _write(merge.rest(), sink, stop, listening)
    sink.end()
    merge.close()


def _write(batch: list[Seen], sink: Sink, stop: Stop, listening: Conntrack | None) -> None:
    if listening is not None:
        listening.read()
    if stop.left < 0:
        if batch:
            sink.write(batch)
        return
    for seen in batch:
        if stop.left:
            stop.left -= sink.write([seen])


def _can_wait(fd: int) -> bool:
    """Terminals, pipes and sockets tell their end; a file, or /dev/null, is at its end already and says nothing."""
    import stat

    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
