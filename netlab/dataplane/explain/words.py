"""Explanations as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from netlab.api.types import Obj
from netlab.dataplane.explain.model import Ending, Packet, Stage, Walk
from netlab.dataplane.explain.service import Entrance, Explanation

ORIGINS = {"pod": "a pod of the node", "node": "the node itself", "outside": "someone outside"}
VERDICTS = {"reject": "refused", "drop": "dropped", "passed": "goes on untranslated"}


def text(explanation: Explanation, names: Mapping[str, str], *, rules: bool = True) -> Iterator[str]:
    """Lines. `names`: what pods' addresses are called. `rules`: with each rule as the tool prints it."""
    state = "live" if explanation.live else "as it would be"
    yield f"{explanation.port.name} ({explanation.port.protocol}) in {explanation.mode} mode, {state}"
    for entrance, walk in explanation.walks:
        yield ""
        yield _heading(entrance, walk.packet)
        for stage in walk.stages:
            yield from _stage(stage, rules)
        yield "  in the end:"
        yield from (f"    {line}" for line in endings(walk, names))


def _heading(entrance: Entrance, packet: Packet) -> str:
    who = f"{ORIGINS[packet.caller.origin]} ({packet.caller.address})"
    return f"{entrance.kind}: {who} calls {packet.destination}:{packet.port}"


def _stage(stage: Stage, rules: bool) -> Iterator[str]:
    indent = "  " * (stage.depth + 1)
    counters = f"  [{stage.packets} packets, {stage.bytes} bytes]" if stage.packets is not None else ""
    words = stage.words if stage.taken else f"({stage.words})"
    yield f"{indent}{words}{counters}"
    if rules and stage.taken:
        yield f"{indent}    {stage.rule}"


def endings(walk: Walk, names: Mapping[str, str]) -> Iterator[str]:
    """One line for each end, equal ones together."""
    shares: dict[tuple[str, str, bool], float] = {}
    for ending in walk.endings:
        key = (ending.verdict, ending.endpoint, ending.masqueraded)
        shares[key] = shares.get(key, 0.0) + ending.share
    for (verdict, endpoint, masqueraded), share in shares.items():
        if verdict != "endpoint":
            yield f"{percent(share)} {VERDICTS[verdict]}"
            continue
        name = names.get(endpoint.rpartition(":")[0].strip("[]"), "")
        called = f" ({name})" if name else ""
        seen = "seen with the node's address (masqueraded)" if masqueraded else "the client's address is kept"
        yield f"{percent(share)} {endpoint}{called}, {seen}"


def percent(share: float) -> str:
    return f"{share * 100:.1f}%".rjust(6)


def comparison(explanations: Sequence[Explanation]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Side by side: header and rows, one for each entrance and end, a column for each mode."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for explanation in explanations:
        for entrance, walk in explanation.walks:
            where = f"{entrance.kind} {entrance.address}:{entrance.port} from {walk.packet.caller.origin}"
            for ending in _merged(walk.endings):
                what = ending.endpoint or VERDICTS[ending.verdict]
                cell = percent(ending.share).strip() + (" masqueraded" if ending.masqueraded else "")
                rows.setdefault((where, what), {})[explanation.mode] = cell
    header = ("ENTRANCE", "END", *(f"{one.mode.upper()}{' (LIVE)' if one.live else ''}" for one in explanations))
    modes = [one.mode for one in explanations]
    return header, [(*key, *(cells.get(mode, "-") for mode in modes)) for key, cells in rows.items()]


def _merged(endings_: Sequence[Ending]) -> list[Ending]:
    found: dict[tuple[str, str, bool], Ending] = {}
    for one in endings_:
        key = (one.verdict, one.endpoint, one.masqueraded)
        share = one.share + (found[key].share if key in found else 0)
        found[key] = Ending(one.verdict, share, one.endpoint, one.masqueraded)
    return list(found.values())


def to_obj(explanation: Explanation) -> Obj:
    return {
        "service": str(explanation.port.name),
        "protocol": explanation.port.protocol,
        "mode": explanation.mode,
        "live": explanation.live,
        "entrances": [
            {
                **asdict(entrance),
                "from": asdict(walk.packet.caller),
                "stages": [asdict(stage) for stage in walk.stages],
                "endings": [asdict(ending) for ending in _merged(walk.endings)],
            }
            for entrance, walk in explanation.walks
        ],
    }
