"""`python -m netlab.trace.reach.predicted FILE`: the matrix as the lab's rules say it must be, for `--diff predicted`.

Every pair is a flow for `netlab.trace.predict`; the machines are read once. FILE is what `__main__` reads, with the
lab's `places` in it. Where something is random (the endpoints of a Service), a pair is as its worst way, and its
details say how much of the traffic goes that way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from netlab.trace.model import Flow, Trace
from netlab.trace.reach import matrix as m
from netlab.trace.reach.matrix import Matrix, Source, Target, assemble

_WORST = (m.FAILED, m.TIMEOUT, m.UNREACHABLE, m.REFUSED, m.CLOSED, m.REACHABLE)


def verdict(trace: Trace, listens: bool) -> tuple[str, str]:
    """(letter, words) of one way, as the prober would find it. PURE."""
    end = trace.verdict
    if end.kind == "delivered" and trace.reply is not None and trace.reply.verdict.kind != "delivered":
        return m.TIMEOUT, f"the answer: {trace.reply.verdict.text}"
    if end.kind == "delivered":
        return m.REACHABLE, ""
    if end.kind == "refused" or (end.kind == "rejected" and "port" in end.text):
        return (m.REFUSED, end.text) if listens else (m.CLOSED, "")
    return (m.UNREACHABLE if end.kind == "rejected" else m.TIMEOUT), end.text


def worst(ways: Sequence[Trace], listens: bool) -> tuple[str, str]:
    """(letter, words) of a pair with all its ways. PURE."""
    found = [(*verdict(way, listens), way.share) for way in ways]
    letter = next(one for one in _WORST if any(one == other for other, _, _ in found))
    share = sum(part for other, _, part in found if other == letter)
    words = next(words for other, words, _ in found if other == letter)
    if letter in m.GOOD or share > 0.999:
        return letter, words
    return letter, f"{words} ({share:.0%}{m.SOME}"


def predicted(text: str) -> Matrix:
    """The matrix of such a file."""
    from netlab.trace.gather import Gathered, Place
    from netlab.trace.predict import Uninterpretable, World, predict

    wanted = json.loads(text)
    sources = [Source(**{**one, "ips": tuple(one["ips"])}) for one in wanted["sources"]]
    targets = [Target(**one) for one in wanted["targets"]]
    rows = [bytearray(m.SKIPPED * len(targets), "ascii") for _ in sources]
    details: dict[tuple[int, int], str] = {}
    for ipv6 in (False, True):
        asked = [(i, j) for i, row in enumerate(wanted["work"]) for j in row if (":" in targets[j].ip) == ipv6]
        gathered = Gathered([Place(**one) for one in wanted["places"]], ipv6=ipv6) if asked else None
        for i, j in asked:
            assert gathered is not None  # noqa: S101
            src = next(ip for ip in sources[i].ips if (":" in ip) == ipv6)
            flow = Flow(sources[i].name, src, targets[j].ip, wanted["proto"], 40000, targets[j].port, 0)
            try:
                letter, words = worst(predict(World(gathered), flow), targets[j].listens)
            except (Uninterpretable, KeyError, ValueError) as problem:
                letter, words = m.FAILED, f"cannot be predicted: {problem}"
            rows[i][j] = ord(letter)
            if words:
                details[i, j] = words
        if gathered is not None:
            gathered.close()
    found = assemble(wanted["proto"], sources, targets, rows)
    return Matrix(found.proto, found.sources, found.targets, found.groups, found.rows, details)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(predicted(Path(sys.argv[1]).read_text()).to_obj()))
