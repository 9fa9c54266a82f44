"""How long to wait for an answer, and how much may be outstanding. PURE.

A pair that is denied is known only by silence. Waiting a fixed second for each is what makes pingAll slow; here all
pairs wait together, and as long as the network's own answers say is enough: after RFC 6298, but from the worst answers
instead of the mean, because one wait must do for thousands of pairs. What is not answered is asked again, twice, so
that a lost packet or a resolution of addresses in between is not mistaken for a denial.

Neighbour entries: the kernel has one table for all namespaces (gc_thresh3, 1,024 entries, and a full table refuses to
send). A pair on one segment makes two entries, one at each end, so sources take turns and tidy up what they caused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt

ATTEMPTS = 3
FIRST_WAIT = 1.0
"""Seconds to wait at first where no answer has come yet: what Linux itself waits for ARP."""
KERNEL_FLOOR, PROGRAM_FLOOR = 0.05, 0.4
"""The least to wait where a kernel answers, and where a program does."""
CEILING = 1.0
OUTSTANDING = 100
"""Pairs unanswered at a time in one namespace: their answers must fit in one socket's buffer of 208 KiB."""
CONNTRACK_SHARE = 0.5
NEIGHBOUR_SHARE = 0.6
"""Shares of the kernel's tables that a run may use."""
DEFAULT_THRESHOLD = 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """What the answers so far say. Seconds. `floor` is the least to wait."""

    floor: float = KERNEL_FLOOR
    answers: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    worst: float = 0.0

    def seen(self, rtt: float) -> Patience:
        """After one more answer (RFC 6298 section 2: gains 1/8 and 1/4)."""
        if not self.answers:
            return replace(self, answers=1, mean=rtt, deviation=rtt / 2, worst=rtt)
        deviation = 0.75 * self.deviation + 0.25 * abs(self.mean - rtt)
        return replace(
            self,
            answers=self.answers + 1,
            mean=0.875 * self.mean + 0.125 * rtt,
            deviation=deviation,
            worst=max(self.worst, rtt),
        )

    def wait(self, attempt: int) -> float:
        """How long to wait after the last packet of an attempt (0, 1, …): later attempts wait longer."""
        if not self.answers:
            return FIRST_WAIT if attempt == 0 else FIRST_WAIT / 4
        wanted = max(self.mean + 4 * self.deviation, 2 * self.worst)
        return min(CEILING, max(self.floor, wanted) * (attempt + 1))


Turn = list[tuple[int, list[int]]]
"""Sources, each with targets to ask."""


def tiles(members: int, room: int) -> Iterator[tuple[range, range]]:
    """All pairs of so many members of one segment, both ways, in tiles that make at most `room` neighbour entries.

    Whoever is asked learns who asks, so a pair makes two entries whether it is asked one way or both: a tile is two
    ranges of members, each to ask all of the other (or, where both are one range, all of itself).
    """
    side = max(1, isqrt(max(2, room) // 2))
    ranges = [range(start, min(members, start + side)) for start in range(0, members, side)]
    for place, one in enumerate(ranges):
        for other in ranges[place:]:
            yield one, other


def chunks(total: int, size: int = OUTSTANDING) -> Iterator[range]:
    """`range(total)` in pieces."""
    for start in range(0, total, size):
        yield range(start, min(total, start + size))
