"""One trace, made inside the lab: reads the machines, predicts, sends and watches, compares.

`python -m netlab.trace.session REQUEST` prints one JSON report; `run` is the same as a function. Requests come from
`netlab.lab.tracing`, which knows the API's objects.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from netlab.api.types import Obj
from netlab.kernel.errors import KernelError
from netlab.trace import dnsquery, model, rulehits
from netlab.trace.compare import compare, explained, nearest
from netlab.trace.correlate import Met, Seen, Sight, exchange, observed, sort
from netlab.trace.gather import Gathered, Place
from netlab.trace.model import Exchanged, Flow, Hop, Step, Trace, Verdict
from netlab.trace.predict import Uninterpretable, World, predict
from netlab.trace.predict.context import Oracle
from netlab.trace.predict.route import lookup, source_address
from netlab.trace.predict.state import Machine
from netlab.trace.probe import Probe, prepare
from netlab.trace.stamps import Stamps
from netlab.trace.token import AnyToken, is_first, token_of
from netlab.trace.watch import Watch

WATCHED = 64
"""Machines that are all watched; of a bigger lab only those on the predicted ways."""
QUIET = 0.2
"""Seconds without a sight after which nothing more is expected of a packet that should be lost."""
ANSWER = 2.0
"""Seconds that an expected answer may take."""
RETRANSMISSION = 0.9
"""Seconds before which a socket that waits for an answer to its SYN must go: after one it would send another."""
SETTLE = 0.01
"""Seconds that the answer's last sights and events may be late."""


class TraceError(RuntimeError):
    """The trace cannot be made; one sentence for the user."""


class DnsLost(TraceError):  # noqa: N818 — an answer as much as an error
    """The look-up before got no answer; `made` is its trace."""

    def __init__(self, made: Made, name: str) -> None:
        super().__init__(f"DNS: no answer for {name}")
        self.made = made


@dataclass(frozen=True, slots=True)
class Request:
    """`mode`: "both", "predict" or "observe". `names` of addresses; `services`: "protocol address port" → name.
    `size`: bytes of payload. `lookups`: DNS names to ask `dns_server` for, the first that has an address is meant.
    `question`: the name that a datagram asks for, where DST is a DNS server. `live`: seconds to wait for the next real
    packet instead of sending one. `url`: a whole request of HTTP follows the first packet."""

    places: tuple[Place, ...]
    source: str
    dst: str
    protocol: str
    dport: int = 0
    mode: str = "both"
    size: int = 0
    df: bool = True
    names: Mapping[str, str] | None = None
    services: Mapping[str, str] | None = None
    answers: Mapping[str, str] | None = None
    """Load balancers' addresses → the node that answers ARP for them."""
    answer: float = ANSWER
    lookups: tuple[str, ...] = ()
    dns_server: str = ""
    question: str = ""
    ipv6: bool = False
    live: float = 0.0
    url: str = ""

    @classmethod
    def of(cls, data: Obj) -> Request:
        return cls(**{**data, "places": tuple(Place(**one) for one in data["places"])})


@dataclass(frozen=True, slots=True)
class Made:
    """One traced packet: every predicted way, the one that was taken, what was observed. `payload`: the answer's."""

    ways: tuple[Trace, ...] = ()
    taken: Trace | None = None
    observed: Trace | None = None
    frames: tuple[tuple[str, str, str, int, str], ...] = ()
    problem: str = ""
    payload: bytes = b""
    exchange: tuple[Exchanged, ...] = ()


class _First:
    """An oracle for questions where any answer will do."""

    def choose(self, what: str, options: Sequence[tuple[str, float]]) -> int:
        return 0


def run(request: Request, gathered: Gathered | None = None) -> Obj:
    """The report as JSON data: {"predicted": […], "observed": …, "difference": …, "frames": […], "error": …}."""
    own = gathered is None
    gathered = gathered or Gathered(request.places, ipv6=request.ipv6 or ":" in request.dst)
    try:
        return _Session(request, gathered).run()
    finally:
        if own:
            gathered.close()


class _Session:
    def __init__(self, request: Request, gathered: Gathered) -> None:
        self.request, self.gathered = request, gathered
        self.stamps: Stamps | None = None
        names, services = request.names or {}, request.services or {}
        self.world = World(
            gathered,
            lambda address: names.get(address, ""),
            lambda protocol, address, port: services.get(f"{protocol} {address} {port}", ""),
            request.answers or {},
        )

    def run(self) -> Obj:
        if self.request.mode != "predict":
            self.stamps = Stamps(self.gathered.namespace(self.request.source))
        try:
            dns = self._look_up() if self.request.lookups else None
            return _report(self._one(), dns)
        finally:
            if self.stamps is not None:
                self.stamps.close()

    def _look_up(self) -> Made:
        """The traced query that gave the address, which the request then has. TraceError where there is none."""
        request, code = self.request, "no answer"
        if request.mode == "predict":
            if not request.dst:
                raise TraceError(f"{request.lookups[-1]} is no Service's name: only a real query can tell its address")
            asked = replace(request, dst=request.dns_server, dport=53, protocol="udp", lookups=())
            return self._another(replace(asked, question=request.lookups[0]))
        for name in request.lookups:
            asked = replace(
                request,
                dst=request.dns_server,
                dport=53,
                protocol="udp",
                lookups=(),
                question=name,
                url="",
                live=0.0,
                mode="both",
            )
            made = self._another(asked)
            if not made.payload:
                raise DnsLost(made, name)
            found = dnsquery.answer(made.payload)
            code = found.code
            if found.addresses:
                self.request = replace(request, dst=found.addresses[0])
                answer = f"{name} is {found.addresses[0]}, says {request.dns_server}"
                seen = made.observed and replace(made.observed, notes=(*made.observed.notes, answer))
                return replace(made, problem="", observed=seen)
        raise TraceError(f"DNS: {request.lookups[0]}: {code} (asked {request.dns_server})")

    def _another(self, request: Request) -> Made:
        session = _Session(request, self.gathered)
        session.stamps = self.stamps
        return session._one()

    def _one(self) -> Made:
        request = self.request
        query = b""
        if request.question:
            query = dnsquery.question(request.question, int.from_bytes(os.urandom(2), "big") or 1, ipv6=request.ipv6)
        flow = Flow(request.source, self._source(), request.dst, request.protocol, 0, request.dport,
                    len(query) or request.size, request.df)  # fmt: skip
        if request.mode == "predict":
            return Made(self._predict(flow))
        with _alone():
            if request.live:
                return self._live(flow)
            probe = prepare(self.gathered.namespace(request.source), request.protocol, flow.src, request.dst,
                            request.dport, size=request.size, df=request.df, payload=query)  # fmt: skip
            if request.url:
                probe.token = replace(probe.token, whole=True)
            try:
                return self._both(
                    replace(flow, sport=probe.sport, protocol=probe.token.protocol, size=_size(probe)), probe
                )
            finally:
                probe.close()

    def _source(self) -> str:
        """The address that the source's kernel would take."""
        machine = self.gathered[self.request.source]
        oracle: Oracle = _First()
        found = lookup(machine, self.request.dst, oracle, iif="lo")
        address = source_address(machine, found, self.request.dst) if found.kind else ""
        if address:
            return address
        v6 = ":" in self.request.dst
        every = [
            a
            for one in machine.interfaces.values()
            if one.kind != "loopback"
            for a, _, scope in one.addresses
            if scope < 253
        ]
        if not every:
            raise TraceError(f"{machine.name} has no IPv{6 if v6 else 4} address")
        return every[0]

    def _predict(self, flow: Flow) -> tuple[Trace, ...]:
        self.gathered.learn_path_mtu(flow.source, flow.dst)
        try:
            return predict(self.world, flow)
        except Uninterpretable as problem:
            raise TraceError(f"cannot predict: a rule cannot be interpreted: {problem}") from None

    def _ways(self, flow: Flow) -> tuple[tuple[Trace, ...], str]:
        if self.request.mode == "observe" and len(self.gathered) <= WATCHED:
            return (), ""
        try:
            return self._predict(flow), ""
        except TraceError as error:
            return (), str(error)

    def _both(self, flow: Flow, probe: Probe) -> Made:
        ways, problem = self._ways(flow)
        watch = Watch(self.gathered, probe.token)
        try:
            watch.open(*self._where(ways, flow))
            if self.stamps is not None:
                self.stamps.await_on()
            probe.send()
            self._wait(watch, probe, ways)
            if self.request.url:
                self._whole_request(watch, probe)
            watch.finish()
        finally:
            watch.close()
        return self._made(flow, probe.error, watch, ways, problem)

    def _made(self, flow: Flow, error: int, watch: Watch, ways: tuple[Trace, ...], problem: str) -> Made:
        seen = sort(watch.sights, watch.token)
        met = self._met(watch, seen)
        if ways and self._order(met):
            ways = self._predict(flow)
        found = self._observed(flow, error, watch, seen, met)
        payload = seen.reply[-1].packet.innermost.payload if seen.reply else b""
        if self.request.mode == "observe":
            return Made((), None, found, _frames(watch), problem, payload)
        mine = nearest(ways, found)
        packets = tuple(exchange(watch.sights, watch.token)) if self.request.url else ()
        return Made(ways, mine, found, _frames(watch), problem, payload, packets)

    def _live(self, flow: Flow) -> Made:
        """The next real packet of the flow that leaves the source."""
        ways, problem = self._ways(flow)
        ports = {flow.dport} | {hop.packet.dport for way in ways for hop in way.hops if hop.packet.dport}
        watch = Watch(self.gathered, AnyToken(flow.protocol, frozenset(ports), ":" in flow.dst))
        try:
            watch.open(*self._where(ways, flow))
            if self.stamps is not None:
                self.stamps.await_on()
            first = self._next(watch, flow)
            inner = first.packet.innermost
            watch.token = token_of(inner, flow.protocol)
            flow = replace(flow, src=inner.src, sport=inner.sport, size=len(inner.payload))
            hopeful = not ways or any(way.reply is not None for way in ways)
            end = time.monotonic() + (self.request.answer if hopeful else QUIET)
            while time.monotonic() < end and watch.wait(QUIET) and not self._back(watch):
                pass
            watch.wait(SETTLE)
            watch.finish()
        finally:
            watch.close()
        ways, problem = self._ways(flow)
        return self._made(flow, 0, watch, ways, problem)

    def _next(self, watch: Watch, flow: Flow) -> Sight:
        end = time.monotonic() + self.request.live
        known = 0
        while (left := end - time.monotonic()) > 0:
            watch.wait(min(left, 0.5))
            for sight in watch.sights[known:]:
                inner = sight.packet.innermost
                if (sight.place, sight.direction) == (flow.source, "out") and is_first(inner, flow):
                    return sight
            known = len(watch.sights)
        where = f" port {flow.dport}" if flow.dport else ""
        raise TraceError(
            f"no {flow.protocol} packet from {flow.source} to {flow.dst}{where} for {self.request.live:g} s"
        )

    def _whole_request(self, watch: Watch, probe: Probe) -> None:
        """HTTP over the connection that the first packet began."""
        parts = urlsplit(self.request.url if "//" in self.request.url else f"http://{self.request.url}")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        text = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: klab-trace\r\nConnection: close\r\n\r\n"
        sock = probe.sock
        sock.settimeout(self.request.answer)
        try:
            sock.sendall(text.encode())
            while sock.recv(65536):
                watch.wait(0.0)
        except OSError:
            pass
        sock.close()
        while watch.wait(0.05):
            pass

    def _where(self, ways: Sequence[Trace], flow: Flow) -> tuple[list[str], list[str]]:
        """(places to watch, those of them whose rules are traced)."""
        every = [t for way in ways for t in (way, way.reply) if t is not None]
        on_way = dict.fromkeys(hop.place for trace in every for hop in trace.hops)
        on_way[flow.source] = None
        for trace in every:
            on_way[trace.verdict.place] = None
        machines = [name for name, place in self.gathered.places.items() if place.kind != "pod"]
        if len(machines) <= WATCHED:
            on_way |= dict.fromkeys(machines)
        if not ways:
            on_way |= dict.fromkeys(list(self.gathered.places)[: 4 * WATCHED])
        places = [name for name in on_way if name in self.gathered.places]
        filtered = [name for name in places if self.gathered[name].xtables or self.gathered[name].nft]
        return places, filtered

    def _wait(self, watch: Watch, probe: Probe, ways: Sequence[Trace]) -> None:
        """Until the answer is back at the source, or nothing more is to be expected."""
        hopeful = not ways or any(way.reply is not None and way.reply.verdict.kind == "delivered" for way in ways)
        if self.request.protocol == "udp" and not self.request.question:
            hopeful = False  # who knows what a program says to such a datagram
        begin = time.monotonic()
        longest = min(self.request.answer, RETRANSMISSION) if self.request.protocol == "tcp" else self.request.answer
        while True:
            left = begin + longest - time.monotonic()
            if left <= 0 or not watch.wait(min(left, self.request.answer if hopeful else QUIET)):
                break
            if self._back(watch):
                watch.wait(SETTLE)
                break
        probe.look()
        if not self.request.url:
            probe.close()

    def _back(self, watch: Watch) -> bool:
        source = self.request.source
        seen = sort(watch.sights, watch.token)
        return any(s.place == source and s.direction != "out" for s in (*seen.reply, *seen.error))

    # -- what was seen

    def _order(self, met: Sequence[Met]) -> bool:
        """Takes from what was met the order of chains that have the same priority; whether any differs from before."""
        changed = False
        for place in dict.fromkeys(one.place for one in met):
            machine = self.gathered[place]
            found = rulehits.nft_first([one for one in met if one.place == place], machine)
            if found is not None and found != machine.nft_first:
                self.gathered.put(replace(machine, nft_first=found))
                changed = True
        return changed

    def _met(self, watch: Watch, seen: Seen) -> list[Met]:
        asked = [_ends(sight) for sight in seen.request]
        met: list[Met] = []
        for place, hits in watch.hits.items():
            events = [_event(hit, self.gathered.indexes(place)) for hit in hits]
            met += rulehits.met(place, events, self.gathered[place], watch.token, asked)
        return met

    def _observed(self, flow: Flow, error: int, watch: Watch, seen: Seen, met: Sequence[Met]) -> Trace:
        tracked = {place: _tracked(entries, seen) for place, entries in watch.connections.items()}

        def requests(role: str) -> list[Met]:
            return [one for one in met if one.role == role]

        trace = observed(
            flow, seen.request, requests("request"), self.gathered, _Ending(flow, error, seen, self.gathered).request
        )
        trace = _with_connections(trace, tracked)
        if seen.reply:
            first = seen.reply[0].packet.innermost
            back = Flow(seen.reply[0].place, first.src, first.dst, flow.protocol, first.sport, first.dport)
            answer = observed(
                back, seen.reply, requests("reply"), self.gathered, _Ending(flow, error, seen, self.gathered).reply
            )
            trace = replace(trace, reply=answer)
        return replace(trace, notes=(*trace.notes, *watch.notes))


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a direction ended, from what was seen alone."""

    flow: Flow
    problem: int
    """What the kernel said to the sender: an errno, 0 for none."""
    seen: Seen
    machines: Mapping[str, Machine]

    def request(self, hops: Sequence[Hop], rest: Sequence[Step]) -> Verdict:
        last = hops[-1].place if hops else self.flow.source
        by_rule = next((step for step in reversed(rest) if step.deciding and _ends_packet(step)), None)
        if self.seen.error:
            return self._error(last, by_rule)
        if by_rule is not None:
            kind = "rejected" if "reject" in by_rule.text.lower() else "dropped"
            return Verdict(kind, last, f"{kind} by {by_rule.where}: {by_rule.text}")  # type: ignore[arg-type]
        if self.seen.reply:
            if "RST" in self.seen.reply[0].packet.innermost.flags:
                return Verdict("refused", last, f"{last} refuses it with a reset")
            return Verdict("delivered", last, f"delivered to {last}, which answered")
        if not hops:
            what = os.strerror(self.problem) if self.problem else "no reason told"
            return Verdict("dropped", last, f"it never left {last}: {what}")
        final = hops[-1]
        if self.flow.protocol == "udp" and final.direction == "in" and self.machines[last].is_local(final.packet.dst):
            return Verdict("delivered", last, f"arrived at {last}, which said nothing")
        return Verdict("lost", last, f"not seen any more behind {final.interface} of {last} ({final.direction})")

    def _error(self, last: str, by_rule: Step | None) -> Verdict:
        first = self.seen.error[0]
        inner = first.packet.innermost
        said = f"{inner.src} answers with ICMP {inner.info}"
        if self._is_virtual(last):
            return Verdict("rejected", last, f"{said}: IPVS has no real server for it")
        if (
            by_rule is None
            and "port" in inner.info
            and self.machines[last].is_local(inner.src)
            and _delivered_at(self.seen, self.machines, last)
        ):
            return Verdict("refused", last, said)
        return Verdict("rejected", first.place, said + (f", by {by_rule.where}: {by_rule.text}" if by_rule else ""))

    def _is_virtual(self, last: str) -> bool:
        """Whether it was for a virtual server of the machine that saw it last: IPVS takes it before any socket can."""
        servers = self.machines[last].servers
        final = self.seen.request[-1].packet.innermost if self.seen.request else None
        ends = {(one.protocol.lower(), one.address, one.port) for one in servers}
        return final is not None and (self.flow.protocol, final.dst, final.dport) in ends

    def reply(self, hops: Sequence[Hop], rest: Sequence[Step]) -> Verdict:
        last = hops[-1] if hops else None
        if last is not None and last.place == self.flow.source and last.direction == "in":
            came, asked = (last.packet.src, last.packet.sport), (self.flow.dst, self.flow.dport)
            here = self.machines[last.place]
            if came != asked and self.flow.protocol in ("tcp", "udp") and not (here.xtables or here.nft):
                return Verdict("refused", last.place, f"{last.place} did not ask {model.host_port(*came)}")
            return Verdict("delivered", last.place, f"delivered to {last.place}")
        where = last.place if last else self.flow.source
        return Verdict("lost", where, f"the answer is not seen any more behind {where}")


def _delivered_at(seen: Seen, machines: Mapping[str, Machine], last: str) -> bool:
    return bool(seen.request) and machines[last].is_local(seen.request[-1].packet.innermost.dst)


def _ends_packet(step: Step) -> bool:
    text = step.text.lower()
    return "drop" in text or "reject" in text


def _ends(sight: Sight) -> tuple[object, ...]:
    inner = sight.packet.innermost
    return inner.src, inner.sport, inner.dst, inner.dport


def _event(hit: Any, names: Mapping[int, str]) -> rulehits.Event:
    return rulehits.Event(
        hit.backend, hit.family, hit.table, hit.chain, hit.what, hit.number, hit.handle, hit.hook, hit.verdict,
        names.get(hit.indev, ""), names.get(hit.outdev, ""), hit.id, hit.packet,
    )  # fmt: skip


def _tracked(entries: Sequence[Any], seen: Seen) -> list[Step]:
    """Conntrack's new entries that are of the probe's requests."""
    known = {_ends(sight) for sight in seen.request}
    found = []
    for entry in entries:
        o, r = entry.original, entry.reply
        if (o.src, o.sport, o.dst, o.dport) in known or (
            entry.proto in (1, 58) and any(k[0] == o.src and k[2] == o.dst for k in known)
        ):
            name = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}.get(entry.proto, str(entry.proto))
            found.append(Step("conntrack", f"{name} {o} | {r}"))
    return found


def _with_connections(trace: Trace, tracked: Mapping[str, Sequence[Step]]) -> Trace:
    """Each place's new connection behind the last rule that it met there."""
    last: dict[str, int] = {}
    for index, hop in enumerate(trace.hops):
        if hop.steps:
            last[hop.place] = index
    made = list(trace.hops)
    for place, steps in tracked.items():
        if place in last:
            index = last[place]
            made[index] = replace(made[index], steps=(*made[index].steps, *steps))
    return replace(trace, hops=tuple(made))


def _explained(found: Trace, mine: Trace) -> Trace:
    result = explained(found, mine)
    if found.reply is not None and mine.reply is not None:
        result = replace(result, reply=explained(found.reply, mine.reply))
    return result


def _size(probe: Probe) -> int:
    return (
        0
        if probe.token.protocol == "tcp"
        else len(probe.payload) - (8 if probe.token.protocol.startswith("icmp") else 0)
    )


def _frames(watch: Watch) -> tuple[tuple[str, str, str, int, str], ...]:
    return tuple(
        (s.place, s.interface, s.direction, s.time, base64.b64encode(data).decode())
        for s, data in zip(watch.sights, watch.frames, strict=True)
        if watch.token.role(s.packet) is not None or watch.token.whole
    )


def _report(made: Made, dns: Made | None) -> Obj:
    """With the look-up before, if there was one, as a part of each Trace."""
    found, taken, ways = made.observed, made.taken, made.ways
    if dns is not None:
        look = dns.taken or (dns.ways[0] if dns.ways else None)
        ways = tuple(replace(way, dns=look) for way in ways)
        taken = replace(taken, dns=look) if taken else None
        told = dns.observed and _explained(dns.observed, dns.taken) if dns.taken else dns.observed
        found = replace(found, dns=told) if found else None
    difference = None
    if taken is not None and found is not None:
        raw = replace(made.observed, dns=dns.observed if dns else None) if made.observed else found
        difference = compare(taken, raw)
        found = _explained(found, taken)
    return {
        "predicted": [model.to_obj(one) for one in ways],
        "observed": model.to_obj(found) if found else None,
        "difference": asdict(difference) if difference else None,
        "exchange": [asdict(one) for one in made.exchange],
        "frames": [*(dns.frames if dns else ()), *made.frames],
        "error": made.problem,
    }


@contextmanager
def _alone() -> Any:
    """One trace at a time: log group 0 and the trace table are one for each namespace."""
    directory = Path("/run/netlab")
    handle = os.open(
        directory / "trace.lock" if directory.is_dir() else "/tmp/klab-trace.lock",
        os.O_CREAT | os.O_RDWR | os.O_CLOEXEC,
        0o600,
    )
    try:
        end = time.monotonic() + 30.0
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as problem:
                if problem.errno != errno.EWOULDBLOCK or time.monotonic() > end:
                    raise TraceError("another trace of this lab has not ended for 30 s") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def answer(data: Obj) -> Obj:
    """`run` of a request as JSON data; errors that a user can mend become {"error": …, "failed": true}."""
    try:
        return run(Request.of(data))
    except DnsLost as problem:
        return {**_report(problem.made, None), "error": f"{problem}: this is the look-up's own trace"}
    except (TraceError, KernelError) as problem:
        return {"error": str(problem), "failed": True}


def main(argument: str) -> None:
    """The process inside the lab: one request, or with "--serve" one in each line of standard input until it ends."""
    for line in sys.stdin if argument == "--serve" else (argument,):
        try:
            found = answer(json.loads(line))
        except Exception as problem:  # a fault of ours must not end a process that serves others
            if argument != "--serve":
                raise
            traceback.print_exc()
            found = {
                "error": f"{type(problem).__name__}: {problem} — a fault of netlab itself (klab logs labd)",
                "failed": True,
            }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
