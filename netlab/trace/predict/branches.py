"""Every way that a packet may take where something is random: the walk is repeated, each time with other choices.
PURE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from netlab.trace.model import Flow, Trace
from netlab.trace.predict.state import World
from netlab.trace.predict.walk import Walk

MOST = 256
"""Ways that are told; a Service with more endpoints is told in part."""
SETTLED = 1e-6


@dataclass(slots=True)
class Script:
    """An oracle that repeats given choices, then takes the first possible option, and notes what else there was. A
    choice that `wanted` names by its key is taken as wanted."""

    given: tuple[int, ...] = ()
    wanted: frozenset[str] = frozenset()
    taken: list[tuple[int, tuple[tuple[str, float], ...]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def choose(self, what: str, options: Sequence[tuple[str, float]]) -> int:
        """See `Oracle`."""
        total = sum(weight for _, weight in options)
        usual = tuple((key, weight / total) for key, weight in options)
        index = self._index(usual)
        self.taken.append((index, usual))
        if usual[index][0]:
            self.keys.append(usual[index][0])
        return index

    def _index(self, options: tuple[tuple[str, float], ...]) -> int:
        if len(self.taken) < len(self.given):
            return self.given[len(self.taken)]
        if self.wanted:
            for index, (key, _) in enumerate(options):
                if key in self.wanted:
                    return index
            if any(not key for key, _ in options):
                return next(index for index, (key, _) in enumerate(options) if not key)
        return next(index for index, (_, weight) in enumerate(options) if weight > SETTLED)

    @property
    def share(self) -> float:
        share = 1.0
        for index, options in self.taken:
            share *= options[index][1]
        return share


def predict(
    world: World, flow: Flow, *, wanted: frozenset[str] = frozenset(), reply: bool = True, most: int = MOST
) -> tuple[Trace, ...]:
    """Every way of the flow's first packet, the most probable first; with `wanted` ("address:port" of an endpoint, or a
    next hop) only the way that takes it. `reply`: with the way of the answer. Uninterpretable names what cannot be
    followed; KeyError a machine that the world has not."""
    if wanted:
        script = Script(wanted=wanted)
        return (_one(world, flow, script, reply),)
    return tuple(sorted(_all(world, flow, reply, most), key=lambda trace: -trace.share))


def _all(world: World, flow: Flow, reply: bool, most: int) -> Iterator[Trace]:
    pending: list[tuple[int, ...]] = [()]
    count = 0
    while pending and count < most:
        given = pending.pop()
        script = Script(given)
        trace = _one(world, flow, script, reply)
        for place in range(len(given), len(script.taken)):
            before = tuple(index for index, _ in script.taken[:place])
            index, options = script.taken[place]
            pending += [(*before, i) for i in range(len(options)) if i > index and options[i][1] > SETTLED]
        count += 1
        yield trace


def _one(world: World, flow: Flow, script: Script, reply: bool) -> Trace:
    walk = Walk(world, flow, script)
    trace = walk.run()
    share, keys = script.share, tuple(script.keys)
    answer = walk.reply() if reply else None
    return replace(trace, share=share, choices=keys, reply=answer)
