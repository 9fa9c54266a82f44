"""What was found: a verdict for every pair, and how two findings differ. PURE.

A matrix is a row of letters for each source, one letter for each target, so that a million pairs are a megabyte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Proto = Literal["icmp", "tcp", "udp", "sctp"]
Group = Literal["pods", "services", "nodes", "dns", "nodeports", "hosts"]

REACHABLE, CLOSED, REFUSED, UNREACHABLE, TIMEOUT, WRONG, FAILED, SKIPPED = "o", "c", "r", "u", "t", "w", "e", "-"

VERDICTS: Mapping[str, str] = {
    REACHABLE: "reachable",
    CLOSED: "reachable, port closed",
    REFUSED: "refused",
    UNREACHABLE: "unreachable",
    TIMEOUT: "no answer",
    WRONG: "wrong answer",
    FAILED: "not sent",
    SKIPPED: "not asked",
}
"""Letter → words. "c": the machine answered that nothing listens (RST, port unreachable) where nothing was promised to
listen; where a Service or a declared port promises a listener the same answer is "r". "u": a router or the source's own
kernel said that there is no way. "e": the source's kernel could not send at all."""

SOME = " of the connections)"
"""How the details of a predicted pair end, of which not all connections fail."""
GOOD = frozenset((REACHABLE, CLOSED))


@dataclass(frozen=True, slots=True)
class Source:
    """Who asks, from the namespace pinned as `netns`. `segment` names the broadcast domain that it is in."""

    name: str
    netns: str
    ips: tuple[str, ...] = ()
    segment: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked. `port` 0 for ICMP; `listens`: something was promised to answer at that port."""

    name: str
    group: Group
    ip: str
    port: int = 0
    listens: bool = False
    expect: str = ""
    """For DNS: the address that `question` must have."""
    question: str = ""
    owner: str = ""
    """The name of the source that this is, which does not ask itself."""
    segment: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of a run, in seconds. `rtt`: least, median and 99th percentile; upper bounds, for answers are read in bursts."""

    seconds: float = 0.0
    rtt: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rounds: int = 1
    wait: float = 0.0
    """The longest that an unanswered pair was waited for, in a round."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """`rows[i][j]`: the letter for source i and target j. `details`: words for some pairs, by (i, j)."""

    proto: Proto
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[str, ...]
    details: Mapping[tuple[int, int], str] = field(default_factory=dict)
    timing: Timing = Timing()

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """(source, target, letter) of every pair that was asked."""
        for source, row in zip(self.sources, self.rows, strict=True):
            for target, letter in zip(self.targets, row, strict=True):
                if letter != SKIPPED:
                    yield source, target, letter

    def counts(self) -> dict[str, int]:
        """How many pairs have each letter, without those not asked."""
        found: dict[str, int] = {}
        for letter in VERDICTS:
            number = sum(row.count(letter) for row in self.rows)
            if number and letter != SKIPPED:
                found[letter] = number
        return found

    @property
    def asked(self) -> int:
        return sum(self.counts().values())

    @property
    def reachable(self) -> int:
        return sum(number for letter, number in self.counts().items() if letter in GOOD)

    def bad(self) -> list[tuple[str, str, str, str]]:
        """(source, target, letter, details) of the pairs that do not reach."""
        return [
            (self.sources[i], self.targets[j], letter, self.details.get((i, j), ""))
            for i, row in enumerate(self.rows)
            for j, letter in enumerate(row)
            if letter not in GOOD and letter != SKIPPED
        ]

    def to_obj(self) -> dict[str, Any]:
        """The JSON form; `from_obj` reads it back."""
        timing = self.timing
        rate = self.asked / timing.seconds if timing.seconds else 0.0
        return {
            "version": 1,
            "proto": self.proto,
            "summary": {
                "pairs": self.asked,
                "reachable": self.reachable,
                "unreachable": self.asked - self.reachable,
                "seconds": round(timing.seconds, 6),
                "pairsPerSecond": round(rate, 1),
                "rttMs": [round(value * 1e3, 3) for value in timing.rtt],
                "rounds": timing.rounds,
                "waitMs": round(timing.wait * 1e3, 1),
            },
            "verdicts": dict(VERDICTS),
            "sources": list(self.sources),
            "targets": [{"name": n, "group": g} for n, g in zip(self.targets, self.groups, strict=True)],
            "rows": list(self.rows),
            "details": [
                {"source": self.sources[i], "target": self.targets[j], "text": text}
                for (i, j), text in sorted(self.details.items())
            ],
        }


class BadMatrix(ValueError):  # noqa: N818
    """A file that is no matrix; the message says what is wrong with it."""


def from_obj(obj: Any) -> Matrix:
    """The inverse of `Matrix.to_obj`. Raises BadMatrix."""
    try:
        sources, targets = tuple(obj["sources"]), tuple(target["name"] for target in obj["targets"])
        rows = tuple(str(row) for row in obj["rows"])
        places = {name: i for i, name in enumerate(sources)}, {name: i for i, name in enumerate(targets)}
        details = {(places[0][e["source"]], places[1][e["target"]]): str(e["text"]) for e in obj.get("details", ())}
        groups = tuple(target["group"] for target in obj["targets"])
        matrix = Matrix(obj["proto"], sources, targets, groups, rows, details, _timing(obj["summary"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadMatrix(f"not a reachability matrix of 'klab ping -o json' ({error!r})") from None
    wrong = set("".join(rows)) - set(VERDICTS)
    if wrong or len(rows) != len(sources) or any(len(row) != len(targets) for row in rows):
        raise BadMatrix("not a reachability matrix of 'klab ping -o json' (rows do not fit sources and targets)")
    return matrix


def _timing(summary: Mapping[str, Any]) -> Timing:
    least, median, most = (float(value) / 1e3 for value in summary["rttMs"])
    return Timing(
        float(summary["seconds"]), (least, median, most), int(summary["rounds"]), float(summary["waitMs"]) / 1e3
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One pair that is not what it was. A letter is SKIPPED where the pair was not asked there."""

    source: str
    target: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}: {VERDICTS[self.before]}, now {VERDICTS[self.after]}"


def differences(before: Matrix, after: Matrix) -> list[Difference]:
    """The pairs, by name, that reach in one and not in the other, in the order of `after`; then those only in `before`.

    Whether an open port or only its machine answered, or in which way a pair fails, is a difference too.
    """
    old = {(source, target): letter for source, target, letter in before.pairs()}
    found: list[Difference] = []
    for source, target, letter in after.pairs():
        was = old.pop((source, target), SKIPPED)
        if was != letter:
            found.append(Difference(source, target, was, letter))
    return found + [Difference(source, target, was, SKIPPED) for (source, target), was in old.items()]


def unlike_predicted(predicted: Matrix, found: Matrix) -> list[Difference]:
    """Where prediction and what was found part, from the one to the other.

    Silence and a late "unreachable" are the same: who asks does not wait for a neighbour that never answers. A pair of
    which only some connections fail may be found either way.
    """
    some = {
        (predicted.sources[i], predicted.targets[j])
        for (i, j), words in predicted.details.items()
        if words.endswith(SOME)
    }
    silent = {TIMEOUT, UNREACHABLE}
    return [
        one
        for one in differences(predicted, found)
        if (one.source, one.target) not in some and not {one.before, one.after} <= silent
    ]


def assemble(
    proto: Proto, sources: Sequence[Source], targets: Sequence[Target], rows: Sequence[bytes | bytearray]
) -> Matrix:
    """A matrix from rows of letters."""
    return Matrix(
        proto,
        tuple(source.name for source in sources),
        tuple(target.name for target in targets),
        tuple(target.group for target in targets),
        tuple(row.decode("ascii") for row in rows),
    )
