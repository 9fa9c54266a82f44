"""Where prediction and observation part: the first hop, and what of it. PURE.

Compared are the interfaces in their order, addresses and ports, TTL, the outer header, and the rules met between two
sights. Not compared is what nobody can know before: a port that masquerading took at random, VXLAN's source port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from netlab.trace.model import Difference, Hop, Step, Trace, View, with_changes

UNTOLD = ("lost", "dropped")
"""Endings that look the same from outside: nothing more is seen."""


def compare(predicted: Trace, observed: Trace) -> Difference | None:
    """None where both say the same, the replies included (where both have one)."""
    found = _compare(predicted, observed)
    if found is None and predicted.dns and observed.dns:
        found = _part(compare(predicted.dns, observed.dns), "dns")
    if found is None and predicted.reply and observed.reply:
        found = _part(_compare(predicted.reply, observed.reply), "reply")
    return found


def _part(found: Difference | None, part: str) -> Difference | None:
    return replace(found, part=part) if found else None  # type: ignore[arg-type]


def settled(predicted: Trace, observed: Trace) -> Trace:
    """The prediction without the optional hops that were not seen; their steps are the next hop's."""
    made: list[Hop] = []
    carried: tuple[Step, ...] = ()
    for hop in predicted.hops:
        there = observed.hops[len(made)].key if len(made) < len(observed.hops) else None
        if hop.optional and hop.key != there:
            carried += hop.steps
            continue
        made.append(replace(hop, steps=(*carried, *hop.steps)))
        carried = ()
    verdict = replace(predicted.verdict, steps=(*carried, *predicted.verdict.steps))
    return replace(predicted, hops=with_changes(made), verdict=verdict)


def _compare(predicted: Trace, observed: Trace) -> Difference | None:
    predicted = settled(predicted, observed)
    for number, (mine, theirs) in enumerate(zip_longest(predicted.hops, observed.hops), 1):
        if mine is None or theirs is None:
            there = mine or theirs
            assert there is not None  # noqa: S101
            words = ["nothing more" if hop is None else " ".join(hop.key) for hop in (mine, theirs)]
            return Difference(number, "where it is seen", words[0], words[1], " ".join(there.key))
        where = " ".join(theirs.key)
        for what, one, other in (*_seen(mine, theirs), *_rules(mine.steps, theirs.steps)):
            if one != other:
                return Difference(number, what, one, other, where)
    for what, one, other in _rules(predicted.verdict.steps, observed.verdict.steps):
        if one != other:
            return Difference(0, what, one, other, observed.verdict.place)
    return _endings(predicted, observed)


def _seen(mine: Hop, theirs: Hop) -> Iterator[tuple[str, str, str]]:
    yield "where it is seen", " ".join(mine.key), " ".join(theirs.key)
    a, b = mine.packet, theirs.packet
    yield "source", _ends(a, b)[0], b.source
    yield "destination", _ends(a, b)[1], b.destination
    yield "TTL", str(a.ttl), str(b.ttl)
    outer = [f"{o.src} → {o.dst} VNI {o.vni} TTL {o.ttl}" if o else "none" for o in (a.outer, b.outer)]
    yield "outer header", outer[0], outer[1]
    if all(a.macs) and all(b.macs):
        yield "destination MAC", a.macs[1], b.macs[1]


def _ends(mine: View, theirs: View) -> tuple[str, str]:
    """The predicted ends, an unknown port taken from what was observed."""
    known = replace(
        mine,
        sport=theirs.sport if mine.sport is None else mine.sport,
        dport=theirs.dport if mine.dport is None else mine.dport,
    )
    return known.source, known.destination


def _rules(mine: Sequence[Step], theirs: Sequence[Step]) -> Iterator[tuple[str, str, str]]:
    one, other = ([step.where for step in steps if step.kind == "rule" and not step.outer] for steps in (mine, theirs))
    for a, b in zip_longest(one, other, fillvalue="none"):
        yield "rule", a, b


def _endings(predicted: Trace, observed: Trace) -> Difference | None:
    mine, theirs = predicted.verdict, observed.verdict
    if mine.kind != theirs.kind and not (mine.kind in UNTOLD and theirs.kind in UNTOLD):
        return Difference(0, "how it ends", f"{mine.kind}: {mine.text}", f"{theirs.kind}: {theirs.text}", theirs.place)
    return None


def nearest(predicted: Sequence[Trace], observed: Trace) -> Trace | None:
    """Of several predicted ways the one that was taken: the one whose sights agree longest."""

    def agrees(trace: Trace) -> int:
        count = 0
        trace = settled(trace, observed)
        for mine, theirs in zip(trace.hops, observed.hops, strict=False):
            if (
                mine.key != theirs.key
                or mine.packet.dst != theirs.packet.dst
                or _ends(mine.packet, theirs.packet)[1] != theirs.packet.destination
            ):
                return count
            count += 1
        return count

    return max(predicted, key=agrees, default=None)


def explained(observed: Trace, predicted: Trace) -> Trace:
    """The observed Trace with what tables said at each hop: routes, neighbours, forwarding entries, which no event
    tells. Only where sight and rules agree with the prediction; rules keep their own words."""
    predicted = settled(predicted, observed)
    made = []
    for index, hop in enumerate(observed.hops):
        mine = predicted.hops[index] if index < len(predicted.hops) else None
        if mine is None or mine.key != hop.key:
            made += list(observed.hops[index:])
            break
        made.append(replace(hop, steps=_joined(mine.steps, hop.steps)))
    verdict = observed.verdict
    if len(made) == len(predicted.hops) and all(a.key == b.key for a, b in zip(made, predicted.hops, strict=True)):
        cause, remedy = predicted.verdict.cause, predicted.verdict.remedy
        same = _endings(predicted, observed) is None
        verdict = replace(
            verdict,
            steps=_joined(predicted.verdict.steps, verdict.steps),
            text=predicted.verdict.text if same else verdict.text,
            place=predicted.verdict.place if same else verdict.place,
            kind=predicted.verdict.kind if same else verdict.kind,
            cause=verdict.cause or (cause if same else ""),
            remedy=verdict.remedy or (remedy if same else ""),
        )
    return replace(observed, hops=tuple(made), verdict=verdict)


def _joined(predicted: Sequence[Step], observed: Sequence[Step]) -> tuple[Step, ...]:
    mine = [step.where for step in predicted if step.kind == "rule" and not step.outer]
    theirs = [step.where for step in observed if step.kind == "rule"]
    if mine != theirs:
        return (*(step for step in predicted if step.kind not in ("rule", "conntrack", "nat")), *observed)
    seen = iter([step for step in observed if step.kind == "conntrack"])

    def told(step: Step) -> bool:
        return step.kind == "conntrack" and not step.outer and not step.deciding

    return tuple(next(seen, step) if told(step) else step for step in predicted)
