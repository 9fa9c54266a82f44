"""Sends the probes and collects the answers: the only part that has sockets.

A source is one socket in its namespace (raw ICMP, raw SCTP), or for TCP and UDP one per pair, because only a connected
socket is told by the kernel that a port is closed. All are non-blocking and read by one loop in one process. Packets
are made once per target and sent by all sources; between veth pairs an answer is often there when `sendto` returns, so
the loop reads right after a burst and polls only for what is missing.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from netlab.dataplane.model import Neighbour
from netlab.kernel import links, neighbours, netns
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.trace.reach import matrix as m
from netlab.trace.reach import wire
from netlab.trace.reach.matrix import Matrix, Proto, Source, Target, Timing, assemble
from netlab.trace.reach.pace import (
    ATTEMPTS,
    CONNTRACK_SHARE,
    DEFAULT_THRESHOLD,
    KERNEL_FLOOR,
    NEIGHBOUR_SHARE,
    OUTSTANDING,
    PROGRAM_FLOOR,
    Patience,
    Turn,
    chunks,
    tiles,
)

SOL_RAW, ICMP_FILTER = 255, 1
IPPROTO_SCTP = 132
SCTP_FIRST_PORT = 32768
SOCKETS = 512
"""TCP or UDP sockets open at a time."""
CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_{}"
SETTLE = 0.01
"""Seconds for the answers of a turn before its neighbour entries are removed; later ones are welcome too."""
CONNTRACK_PATIENCE, CONNTRACK_EVERY = 60.0, 4096
LETTER = {letter: ord(letter) for letter in m.VERDICTS}
_T = LETTER[m.TIMEOUT]


@dataclass(slots=True)
class Run:
    """One run's state: what is asked, and the letters so far (TIMEOUT until something else is known)."""

    sources: Sequence[Source]
    targets: Sequence[Target]
    work: Sequence[Sequence[int]]
    rows: list[bytearray] = field(default_factory=list)
    details: dict[tuple[int, int], str] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    samples: list[float] = field(default_factory=list)
    waited: float = 0.0
    attempts: int = 0

    def __post_init__(self) -> None:
        blank = LETTER[m.SKIPPED]
        self.rows = [bytearray((blank,)) * len(self.targets) for _ in self.sources]
        for row, asked in zip(self.rows, self.work, strict=True):
            for j in asked:
                row[j] = _T

    def seen(self, rtt: float) -> None:
        self.patience = self.patience.seen(rtt)
        self.samples.append(rtt)

    def missing(self, i: int) -> list[int]:
        row = self.rows[i]
        return [j for j in self.work[i] if row[j] == _T]

    def say(self, i: int, j: int, letter: str, words: str = "") -> None:
        self.rows[i][j] = LETTER[letter]
        if words:
            self.details[i, j] = words
        else:
            self.details.pop((i, j), None)

    def result(self, proto: Proto, seconds: float) -> Matrix:
        rtt = (0.0, 0.0, 0.0)
        if self.samples:
            ordered = sorted(self.samples)
            rtt = (ordered[0], statistics.median(ordered), ordered[int(len(ordered) * 0.99)])
        found = assemble(proto, self.sources, self.targets, self.rows)
        timing = Timing(seconds, rtt, self.attempts, self.waited)
        return Matrix(proto, found.sources, found.targets, found.groups, found.rows, self.details, timing)


class Spaces:
    """The namespaces of the sources, and of those targets that are sources too, each opened once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._held: dict[str, NetNs] = {}
        self.gone: set[str] = set()
        for name in dict.fromkeys(names):
            try:
                self._held[name] = netns.open(name)
            except KernelError:
                self.gone.add(name)

    def of(self, name: str) -> NetNs | None:
        return self._held.get(name)

    def close(self) -> None:
        for space in self._held.values():
            space.close()


def probe(proto: Proto, sources: Sequence[Source], targets: Sequence[Target], work: Sequence[Sequence[int]],
          nodes: Sequence[str] = ()) -> Matrix:  # fmt: skip
    """Ask every pair of `work` (per source, indices of targets). `nodes`: namespaces whose conntrack tables may fill.

    A source whose namespace has gone has FAILED in its row. Raises ValueError for more than 65,535 targets.
    """
    if len(targets) > 65535:
        raise ValueError("at most 65,535 targets at once")
    spaces = Spaces([source.netns for source in sources])
    guards = [space for space in (_open(name) for name in nodes) if space is not None]
    floor = KERNEL_FLOOR if proto in ("icmp", "sctp") else PROGRAM_FLOOR
    run = Run(sources, targets, work, patience=Patience(floor))
    for i, source in enumerate(sources):
        if source.netns in spaces.gone:
            for j in work[i]:
                run.say(i, j, m.FAILED, f"namespace {source.netns} has gone")
    prober: _Raw | _Streams = _Raw(proto, run, spaces) if proto in ("icmp", "sctp") else _Streams(proto, run, spaces)
    tidy = Tidy(run, spaces)
    began = time.perf_counter()
    try:
        _attempts(run, prober, tidy, guards)
        return run.result(proto, time.perf_counter() - began)
    finally:
        prober.close()
        spaces.close()
        for guard in guards:
            guard.close()


def _open(name: str) -> NetNs | None:
    try:
        return netns.open(name)
    except KernelError:
        return None


def _attempts(run: Run, prober: _Raw | _Streams, tidy: Tidy, guards: Sequence[NetNs]) -> None:
    unseen = CONNTRACK_EVERY
    for attempt in range(ATTEMPTS):
        left = [i for i, row in enumerate(run.rows) if _T in row]
        if not left:
            return
        run.attempts = attempt + 1
        for turn in tidy.turns(left):
            unseen += sum(len(asked) for _, asked in turn)
            if unseen >= CONNTRACK_EVERY:
                _room_for(guards, unseen)
                unseen = 0
            prober.send(turn, attempt)
            if tidy.needed:
                prober.wait(SETTLE, [i for i, _ in turn])
                tidy.clean(turn)
        prober.wait(run.patience.wait(attempt))
        run.waited = max(run.waited, run.patience.wait(attempt))


def _room_for(guards: Sequence[NetNs], pairs: int) -> None:
    """Waits until every node's conntrack table has room for so many more entries; gives up after a minute."""
    end = time.monotonic() + CONNTRACK_PATIENCE
    for guard in guards:
        try:
            most = int(guard.read_proc(CONNTRACK.format("max"))) * CONNTRACK_SHARE
            while int(guard.read_proc(CONNTRACK.format("count"))) + min(pairs, most / 2) > most:
                if time.monotonic() > end:
                    return
                time.sleep(0.5)
        except OSError:
            continue  # no conntrack there: nothing to fill


class Tidy:
    """Pairs in turns, where otherwise the kernel's one neighbour table would overflow; see `pace.tiles`.

    Only entries that a run may have made are removed, so permanent ones, right or wrong, stay.
    """

    def __init__(self, run: Run, spaces: Spaces) -> None:
        self._run, self._spaces = run, spaces
        self._room = int(_threshold() * NEIGHBOUR_SHARE)
        place = {source.name: i for i, source in enumerate(run.sources)}
        self._asker: dict[int, int] = {}
        segments: dict[str, list[int]] = {}
        for j, target in enumerate(run.targets):
            if target.segment:
                segments.setdefault(target.segment, []).append(j)
                if target.owner in place:
                    self._asker[j] = place[target.owner]
        self._strangers: dict[str, list[int]] = {}
        for i, source in enumerate(run.sources):
            if source.segment in segments:
                self._strangers.setdefault(source.segment, []).append(i)
        self._segments = segments
        crowd = ((len(members), len(self._strangers.get(name, ()))) for name, members in segments.items())
        self.needed = 2 * sum(targets * askers for targets, askers in crowd) > self._room
        self._kept: dict[str, tuple[int, frozenset[bytes]]] = {}
        self._messages: dict[tuple[int, str], bytes] = {}
        self._packed_of: dict[str, bytes] = {}
        self._packed = [self._bytes(target.ip) for target in run.targets]
        if self.needed:
            for source in run.sources:
                self._snapshot(source.netns)

    def turns(self, left: Sequence[int]) -> Iterator[Turn]:
        """What is missing: first all that makes no entries, then each segment in tiles."""
        if not self.needed:
            yield [(i, self._run.missing(i)) for i in left]
            return
        near: dict[int, set[int]] = {}
        far: Turn = []
        for i in left:
            missing, segment = self._run.missing(i), self._run.sources[i].segment
            kept = self._snapshot(self._run.sources[i].netns)[1]
            mine = {j for j in self._segments.get(segment, ()) if self._packed[j] not in kept} & set(missing)
            near[i] = mine
            far.append((i, [j for j in missing if j not in mine]))
        yield [(i, asked) for i, asked in far if asked]
        for segment, members in self._segments.items():
            yield from self._tiles(members, self._strangers.get(segment, ()), near)

    def _tiles(self, members: Sequence[int], askers: Sequence[int], near: dict[int, set[int]]) -> Iterator[Turn]:
        both = [j for j in members if j in self._asker]
        for one, other in tiles(len(both), self._room):
            here, there = [both[place] for place in one], [both[place] for place in other]
            found: Turn = [(self._asker[j], [t for t in there if t in near.get(self._asker[j], ())]) for j in here]
            if one != other:
                found += [(self._asker[j], [t for t in here if t in near.get(self._asker[j], ())]) for j in there]
            turn = [(i, asked) for i, asked in found if asked]
            for i, asked in turn:
                near[i] -= set(asked)
            if turn:
                yield turn
        for i in askers:  # targets that ask nobody, and askers that are no targets
            rest = sorted(near.get(i, set()) & set(members))
            for piece in chunks(len(rest), max(1, self._room // 2)):
                yield [(i, rest[piece.start : piece.stop])]

    def clean(self, turn: Turn) -> None:
        """Remove the neighbour entries that these pairs caused, at both ends."""
        at: dict[str, set[str]] = {}
        for i, asked in turn:
            source = self._run.sources[i]
            near = [j for j in asked if self._run.targets[j].segment == source.segment]
            if source.segment and near:
                at.setdefault(source.netns, set()).update(self._run.targets[j].ip for j in near)
                for j in near:
                    if j in self._asker:
                        at.setdefault(self._run.sources[self._asker[j]].netns, set()).update(source.ips)
        for name, addresses in at.items():
            space, (index, kept) = self._spaces.of(name), self._snapshot(name)
            doomed = [ip for ip in addresses if not kept or self._bytes(ip) not in kept]
            if space is not None and index and doomed:
                space.netlink.send([self._message(index, ip) for ip in doomed])

    def _snapshot(self, name: str) -> tuple[int, frozenset[bytes]]:
        """The index of the first interface, and the neighbours that are not ours to remove: the permanent ones."""
        found = self._kept.get(name)
        if found is None:
            space = self._spaces.of(name)
            if space is None:
                return 0, frozenset()
            names = {links.index_of(one): links.name_of(one) for one in space.netlink.dump(links.GET_ALL)}
            index = min((number for number, device in names.items() if device != "lo"), default=0)
            kept = neighbours.permanent(space.netlink.dump(neighbours.GET_ALL))
            kept |= neighbours.permanent(space.netlink.dump(neighbours.GET_ALL6))
            found = self._kept[name] = index, kept
        return found

    def _bytes(self, ip: str) -> bytes:
        found = self._packed_of.get(ip)
        if found is None:
            found = self._packed_of[ip] = ip_address(ip).packed
        return found

    def _message(self, index: int, ip: str) -> bytes:
        found = self._messages.get((index, ip))
        if found is None:
            found = self._messages[index, ip] = neighbours.delete(Neighbour("eth0", ip, ""), lambda _: index)
        return found


def _threshold() -> int:
    """The kernel's limit of neighbour entries, where it may be read."""
    try:
        with open("/proc/sys/net/ipv4/neigh/default/gc_thresh3") as file:  # noqa: PTH123
            return int(file.read())
    except (OSError, ValueError):
        return DEFAULT_THRESHOLD


class _Raw:
    """ICMP and SCTP: one or two raw sockets per source and family; an answer says by itself which target it is of."""

    def __init__(self, proto: Proto, run: Run, spaces: Spaces) -> None:
        self.run, self.sctp = run, proto == "sctp"
        self.ident = struct.pack("!H", os.getpid() & 0x7FFF | 0x4000)
        number = struct.unpack("!H", self.ident)[0]
        self.packets: list[bytes] = []
        for j, target in enumerate(run.targets):
            if self.sctp:
                self.packets.append(wire.sctp_init(SCTP_FIRST_PORT + j, target.port, number << 16 | j + 1))
            else:
                self.packets.append(wire.echo(number, j, ipv6=":" in target.ip))
        self.addresses = [(target.ip, 0) for target in run.targets]
        self.poll = select.epoll()
        self.readers: dict[int, Callable[[], int]] = {}
        self.first: dict[int, socket.socket] = {}
        self.second: dict[int, socket.socket] = {}
        self.open: list[socket.socket] = []
        self.sent_at = 0.0
        families = {":" in target.ip for target in run.targets}
        for i, source in enumerate(run.sources):
            space = spaces.of(source.netns)
            if space is not None:
                self._open(i, space, families)

    def _open(self, i: int, space: NetNs, families: set[bool]) -> None:
        if False in families:
            icmp = self._socket(space, socket.AF_INET, socket.IPPROTO_ICMP, i, self._drain4)
            wanted = (1 << wire.ECHO_REPLY | 1 << wire.UNREACHABLE | 1 << wire.TIME_EXCEEDED) & 0xFFFFFFFF
            icmp.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("I", ~wanted & 0xFFFFFFFF))
            self.first[i] = icmp
            if self.sctp:
                self.first[i] = self._socket(space, socket.AF_INET, IPPROTO_SCTP, i, self._drain_sctp)
        if True in families and not self.sctp:
            self.second[i] = self._socket(space, socket.AF_INET6, socket.IPPROTO_ICMPV6, i, self._drain6)

    def _socket(
        self, space: NetNs, family: int, proto: int, i: int, drain: Callable[[int, socket.socket], int]
    ) -> socket.socket:
        sock = space.socket(family, socket.SOCK_RAW, proto)
        sock.setblocking(False)
        self.open.append(sock)
        self.readers[sock.fileno()] = lambda: drain(i, sock)
        self.poll.register(sock.fileno(), select.EPOLLIN)
        return sock

    def close(self) -> None:
        self.poll.close()
        for sock in self.open:
            sock.close()

    def send(self, turn: Turn, attempt: int) -> None:
        """To everything of the turn, in bursts whose answers fit in the socket's buffer."""
        for i, missing in turn:
            for piece in chunks(len(missing), OUTSTANDING):
                self.sent_at = time.perf_counter()
                self._burst(i, missing[piece.start : piece.stop])
                for sock in (self.first.get(i), self.second.get(i)):
                    if sock is not None:
                        self.readers[sock.fileno()]()
        self._poll(0.0)

    def _burst(self, i: int, missing: Sequence[int]) -> None:
        packets, addresses = self.packets, self.addresses
        first, second = self.first.get(i), self.second.get(i)
        if second is None and first is not None:
            sendto, start = first.sendto, 0
            while start < len(missing):
                try:
                    for j in missing[start:] if start else missing:
                        sendto(packets[j], addresses[j])
                        start += 1
                except OSError as problem:
                    self._not_sent(i, missing[start], problem)
                    start += 1
            return
        for j in missing:
            sock = second if ":" in addresses[j][0] else first
            if sock is None:
                self.run.say(i, j, m.FAILED, "SCTP is asked over IPv4 only")
                continue
            try:
                sock.sendto(packets[j], addresses[j])
            except OSError as problem:
                self._not_sent(i, j, problem)

    def _not_sent(self, i: int, j: int, problem: OSError) -> None:
        if problem.errno in (errno.ENOBUFS, errno.EAGAIN):
            return  # the next attempt asks again
        no_way = problem.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.EACCES, errno.EHOSTDOWN)
        self.run.say(i, j, m.UNREACHABLE if no_way else m.FAILED, os.strerror(problem.errno or 0))

    def wait(self, seconds: float, only: Sequence[int] | None = None) -> None:
        """Until everything that was sent (`only` by these sources) is answered, or so long."""
        end = time.perf_counter() + seconds
        rows = self.run.rows if only is None else [self.run.rows[i] for i in only]
        while any(_T in row for row in rows) and (left := end - time.perf_counter()) > 0:
            self._poll(left)

    def _poll(self, timeout: float) -> None:
        for fd, _ in self.poll.poll(timeout):
            if self.readers[fd]():
                self.run.seen(time.perf_counter() - self.sent_at)

    def _drain4(self, i: int, sock: socket.socket) -> int:
        recv, row, ident, found = sock.recv, self.run.rows[i], self.ident, 0
        good = LETTER[m.REACHABLE]
        try:
            while True:
                data = recv(128)
                if data[20] == 0 and data[24:26] == ident:
                    j = data[26] << 8 | data[27]
                    if row[j] == _T:
                        row[j] = good
                        found += 1
                elif data[20]:
                    found += self._error(i, data)
        except BlockingIOError:
            pass
        except IndexError:
            return found + self._drain4(i, sock)  # a cut packet, or somebody else's echo reply
        if found:
            self.run.seen(time.perf_counter() - self.sent_at)
        return 0

    def _error(self, i: int, data: bytes) -> int:
        """An ICMP error about a packet of ours: which, by its identifier or its ports.

        "Host unreachable" of the source's own kernel says only that a neighbour is silent, or that `Tidy` was quicker
        than it: that is no answer.
        """
        kind, code, inner = data[20], data[21], data[28:]
        if len(inner) < 28 or (code == wire.HOST_UNREACHABLE and data[12:16] == data[16:20]):
            return 0
        if self.sctp and inner[9] == IPPROTO_SCTP:
            j = struct.unpack_from("!H", inner, 20)[0] - SCTP_FIRST_PORT
        elif inner[9] == socket.IPPROTO_ICMP and inner[24:26] == self.ident:
            j = inner[26] << 8 | inner[27]
        else:
            return 0
        if not 0 <= j < len(self.run.targets) or self.run.rows[i][j] != _T:
            return 0
        if self.sctp and kind == wire.UNREACHABLE and code in (wire.PROTOCOL_UNREACHABLE, wire.PORT_UNREACHABLE):
            listens = self.run.targets[j].listens
            self.run.say(i, j, m.REFUSED if listens else m.CLOSED, wire.CODES[code])
        else:
            words = wire.CODES.get(code, f"unreachable, code {code}") if kind == wire.UNREACHABLE else "TTL exceeded"
            self.run.say(i, j, m.UNREACHABLE, words)
        return 1

    def _drain6(self, i: int, sock: socket.socket) -> int:
        found, row = 0, self.run.rows[i]
        try:
            while True:
                data = sock.recv(256)
                if data[0] == wire.ECHO_REPLY6 and data[4:6] == self.ident:
                    j = data[6] << 8 | data[7]
                    if j < len(row) and row[j] == _T:
                        row[j] = LETTER[m.REACHABLE]
                        found += 1
                elif data[0] in (wire.UNREACHABLE6, wire.TIME_EXCEEDED6) and data[48 + 4 : 48 + 6] == self.ident:
                    j = data[48 + 6] << 8 | data[48 + 7]
                    if j < len(row) and row[j] == _T:
                        self.run.say(i, j, m.UNREACHABLE, "destination unreachable")
                        found += 1
        except BlockingIOError:
            return found

    def _drain_sctp(self, i: int, sock: socket.socket) -> int:
        found = 0
        try:
            while True:
                data = sock.recv(512)
                if len(data) < 33:
                    continue
                j = struct.unpack_from("!H", data, 22)[0] - SCTP_FIRST_PORT
                if 0 <= j < len(self.run.targets) and self.run.rows[i][j] == _T:
                    listens = self.run.targets[j].listens
                    closed = m.REFUSED if listens else m.CLOSED
                    self.run.say(i, j, m.REACHABLE if data[32] == wire.INIT_ACK else closed)
                    found += 1
        except BlockingIOError:
            return found


@dataclass(slots=True)
class _Pair:
    i: int
    j: int
    sock: socket.socket
    sent_at: float
    asked: bool = False


class _Streams:
    """TCP and UDP: a connected socket per pair."""

    def __init__(self, proto: Proto, run: Run, spaces: Spaces) -> None:
        self.run, self.spaces, self.tcp = run, spaces, proto == "tcp"
        self.poll = select.epoll()
        self.pairs: dict[int, _Pair] = {}
        self.ident = os.getpid() & 0xFFFF

    def close(self) -> None:
        for pair in self.pairs.values():
            pair.sock.close()
        self.poll.close()

    def send(self, turn: Turn, attempt: int) -> None:
        """Begin every pair of the turn; when too many are open, wait for some as long as an answer may take."""
        for i, missing in turn:
            space = self.spaces.of(self.run.sources[i].netns)
            for piece in chunks(len(missing), OUTSTANDING):
                if len(self.pairs) + OUTSTANDING > SOCKETS:
                    self.wait(self.run.patience.wait(attempt), down_to=SOCKETS - OUTSTANDING)
                if space is not None:
                    self._begin(i, missing[piece.start : piece.stop], space)
            self._poll(0.0)

    def _begin(self, i: int, missing: Sequence[int], space: NetNs) -> None:
        kind = (socket.SOCK_STREAM if self.tcp else socket.SOCK_DGRAM) | socket.SOCK_NONBLOCK
        families = [socket.AF_INET6 if ":" in self.run.targets[j].ip else socket.AF_INET for j in missing]
        for j, sock in zip(missing, space.run(lambda: [socket.socket(f, kind) for f in families]), strict=True):
            pair = _Pair(i, j, sock, time.perf_counter())
            target = self.run.targets[j]
            self.pairs[sock.fileno()] = pair
            self.poll.register(sock.fileno(), select.EPOLLOUT if self.tcp else select.EPOLLIN)
            code = sock.connect_ex((target.ip, target.port))
            if code not in (0, errno.EINPROGRESS):
                self._failed(pair, code)
            elif not self.tcp:
                try:
                    sock.send(self._question(target))
                except OSError as problem:
                    self._failed(pair, problem.errno or 0)

    def _question(self, target: Target) -> bytes:
        if not target.question:
            return b"netlab"
        query = wire.dns_query(target.question, self.ident, ipv6=":" in target.expect)
        return struct.pack("!H", len(query)) + query if self.tcp else query

    def wait(self, seconds: float, only: Sequence[int] | None = None, down_to: int = 0) -> None:
        """Until no more than so many pairs are open, or so long; then the rest has no answer. With `only` they stay."""
        end = time.perf_counter() + seconds
        while len(self.pairs) > down_to and (left := end - time.perf_counter()) > 0:
            self._poll(left)
        if len(self.pairs) > down_to and only is None:
            for pair in list(self.pairs.values()):
                self._end(pair)

    def _poll(self, timeout: float) -> None:
        for fd, events in self.poll.poll(timeout):
            pair = self.pairs.get(fd)
            if pair is not None:
                self._ready(pair, events)

    def _ready(self, pair: _Pair, events: int) -> None:
        code = pair.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._failed(pair, code)
            return
        target = self.run.targets[pair.j]
        if self.tcp and not target.question:
            self._good(pair)
        elif self.tcp and not pair.asked:
            pair.asked = True
            pair.sock.send(self._question(target))
            self.poll.modify(pair.sock.fileno(), select.EPOLLIN)
        elif events & (select.EPOLLIN | select.EPOLLHUP):
            try:
                data = pair.sock.recv(2048)
            except OSError as problem:
                self._failed(pair, problem.errno or 0)
                return
            wrong = (
                wire.dns_answer(data[2:] if self.tcp else data, self.ident, target.expect) if target.question else ""
            )
            self._good(pair, wrong)

    def _good(self, pair: _Pair, wrong: str = "") -> None:
        self.run.seen(time.perf_counter() - pair.sent_at)
        self.run.say(pair.i, pair.j, m.WRONG if wrong else m.REACHABLE, wrong)
        self._end(pair)

    def _failed(self, pair: _Pair, code: int) -> None:
        if code == errno.ECONNREFUSED:
            self.run.seen(time.perf_counter() - pair.sent_at)
            self.run.say(pair.i, pair.j, m.REFUSED if self.run.targets[pair.j].listens else m.CLOSED)
        elif code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.EACCES, errno.EHOSTDOWN):
            self.run.say(pair.i, pair.j, m.UNREACHABLE, os.strerror(code))
        elif code not in (errno.ETIMEDOUT, errno.ENOBUFS, errno.EAGAIN):
            self.run.say(pair.i, pair.j, m.FAILED, os.strerror(code))
        self._end(pair)

    def _end(self, pair: _Pair) -> None:
        """Close; TCP by a reset, so that nothing is left in TIME_WAIT."""
        if self.pairs.pop(pair.sock.fileno(), None) is None:
            return
        if self.tcp:
            pair.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.poll.unregister(pair.sock.fileno())
        pair.sock.close()
