"""A Trace as text for a terminal: one block for each sight, what happened before it, and how it ended. PURE.

Lines come as parts with a style each, so that whoever prints decides about colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from netlab.trace.model import Hop, Report, Step, Trace, Verdict, View, host_port

Style = Literal["plain", "place", "packet", "rule", "change", "good", "bad", "dim", "head"]
Line = tuple[tuple[str, Style], ...]

GOOD = ("delivered",)
WAYS = {"request": "the packet", "reply": "the answer", "dns": "the look-up before", "dns reply": "its answer"}


def report(found: Report, *, every: bool = False, reply: bool = True) -> Iterator[Line]:
    """`every`: also the rules that only lead on, and what is said of the encapsulation's own way."""
    if found.observed is not None:
        yield from _whole(found.observed, found.names, every=every, reply=reply)
    else:
        for number, one in enumerate(found.predicted):
            if number:
                yield ()
            yield from _whole(one, found.names, every=every, reply=reply)
    if found.exchange:
        yield ()
        yield (("the whole connection", "head"),)
        for sent in found.exchange:
            yield (
                (f"    {sent.time:7.0f} µs  ", "dim"),
                (sent.text, "packet"),
                (f"   {' ▸ '.join(sent.places)}", "dim"),
            )
    yield ()
    yield from _comparison(found)


def _whole(trace: Trace, names: Mapping[str, str], *, every: bool, reply: bool) -> Iterator[Line]:
    if trace.dns is not None:
        yield from _one(trace.dns, names, WAYS["dns"], every=every)
        if every and reply and trace.dns.reply is not None:
            yield ()
            yield from _one(trace.dns.reply, names, WAYS["dns reply"], every=every)
        for note in trace.dns.notes:
            yield (("      " + note, "plain"),)
        yield ()
    yield from _one(trace, names, WAYS["request"], every=every)
    if reply and trace.reply is not None:
        yield ()
        yield from _one(trace.reply, names, WAYS["reply"], every=every)
    for note in trace.notes:
        yield (("  " + note, "dim"),)


def _one(trace: Trace, names: Mapping[str, str], what: str, *, every: bool) -> Iterator[Line]:
    flow = trace.flow
    ends = [f"{host_port(a, p)}{_called(names, a)}" for a, p in ((flow.src, flow.sport), (flow.dst, flow.dport))]
    share = "" if trace.share > 0.9999 else f", one way of several: {trace.share:.1%}"
    yield ((f"{what}, {trace.source}{share}: {flow.protocol} {ends[0]} → {ends[1]}", "head"),)
    start = next((hop.time for hop in trace.hops if hop.time), 0.0)
    for number, hop in enumerate(trace.hops, 1):
        yield from _steps(hop.steps, every=every)
        yield from _hop(number, hop, start)
    yield from _steps(trace.verdict.steps, every=every)
    yield from _verdict(trace.verdict)


def _called(names: Mapping[str, str], address: str) -> str:
    return f" ({names[address]})" if address in names else ""


def _hop(number: int, hop: Hop, start: float) -> Iterator[Line]:
    for change in hop.changes:
        yield (("      ≠ ", "dim"), (change, "change"))
    arrow = "→" if hop.direction == "out" else "←"
    clock = f"{(hop.time - start) * 1e6:7.0f} µs" if hop.time else " " * 10
    where = f"{hop.place} {hop.interface}"
    yield ((f"{number:3d} {clock} {arrow} ", "dim"), (f"{where:<28}", "place"), (" " + packet(hop.packet), "packet"))


def packet(seen: View) -> str:
    """One packet in one line: `VXLAN 1 192.168.0.3 → 192.168.0.4 ▸ tcp 10.244.1.2:41000 → 10.244.2.3:80 SYN ttl 63`."""
    outer = f"VXLAN {seen.outer.vni} {seen.outer.src} → {seen.outer.dst} ▸ " if seen.outer else ""
    flags = f" {seen.flags}" if seen.flags else ""
    return f"{outer}{seen.protocol} {seen.source} → {seen.destination}{flags} ttl {seen.ttl}"


def _steps(steps: Sequence[Step], *, every: bool) -> Iterator[Line]:
    hidden = 0
    for step in steps:
        if not every and (step.outer or (step.kind == "rule" and not step.deciding and not step.owner)):
            hidden += 1
            continue
        yield from _step(step)
    if hidden and not every:
        yield ((f"      · {hidden} rule{'s' if hidden > 1 else ''} more that only lead on (-v shows them)", "dim"),)


def _step(step: Step) -> Iterator[Line]:
    owner = f"  ⟵ {step.owner}" if step.owner else ""
    if step.kind != "rule":
        yield (("      · ", "dim"), (f"{step.kind}: {step.text}", "plain"), (owner, "place"))
        return
    counted = ""
    if step.counter is not None:
        counted = f"  [{step.counter[0]} packet{'s' if step.counter[0] != 1 else ''}, {step.counter[1]} bytes before]"
    yield (("      · ", "dim"), (f"rule {step.where}", "rule"), (owner, "place"), (counted, "dim"))
    yield ((f"          {step.text}", "rule" if step.deciding else "dim"),)


def _verdict(verdict: Verdict) -> Iterator[Line]:
    style: Style = "good" if verdict.kind in GOOD else "bad"
    yield (("  ═ ", "dim"), (f"{verdict.kind}: {verdict.text}", style))
    if verdict.cause and verdict.kind not in GOOD:
        yield (("      probable cause: ", "dim"), (verdict.cause, "plain"))
    if verdict.remedy and verdict.kind not in GOOD:
        yield (("      remedy: ", "dim"), (verdict.remedy, "plain"))


def _comparison(found: Report) -> Iterator[Line]:
    if found.error:
        yield ((found.error, "bad"),)
    ways = len(found.predicted)
    if found.observed is None:
        if ways > 1:
            yield ((f"{ways} ways are possible", "dim"),)
        return
    if not found.predicted:
        return
    if found.difference is None:
        more = f", one of {ways} possible ways" if ways > 1 else ""
        yield ((f"prediction and observation are the same, hop by hop and rule by rule{more}", "good"),)
    else:
        yield ((f"prediction and observation part at {found.difference}", "bad"),)


def plain(lines: Iterable[Line]) -> Iterator[str]:
    """Without colour."""
    for line in lines:
        yield "".join(text for text, _ in line).rstrip()
