"""One priority level: its seats, and its queues."""

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache


@lru_cache(maxsize=4096)
def hand_of(flow: str, queues: int, size: int) -> tuple[int, ...]:
    """PURE. The queues that are dealt to a flow: `size` different ones of `queues`, the same at every time.

    Shuffle sharding (apiserver/pkg/util/shufflesharding): cards are drawn by the digits of a hash of the flow.
    """
    entropy = int.from_bytes(hashlib.sha256(flow.encode()).digest(), "big")
    left = list(range(queues))
    found = []
    for _ in range(min(size, queues)):
        entropy, place = divmod(entropy, len(left))
        found.append(left.pop(place))
    return tuple(found)


@dataclass(frozen=True)
class Limits:
    """`queues` 0: what finds no seat is rejected."""

    seats: int
    queues: int = 0
    hand: int = 0
    length: int = 0


class Rejected(Exception):  # noqa: N818
    """There is neither a seat nor a place in a queue; the argument is upstream's reason."""


@dataclass
class Level:
    """`limits` None exempts: whatever comes is let through. Changing limits takes effect with the next request."""

    name: str
    limits: Limits | None
    executing: int = 0
    _queues: "OrderedDict[int, deque[asyncio.Future[None]]]" = field(default_factory=OrderedDict)
    """Those that are not empty, in the order in which their turn comes."""

    @property
    def waiting(self) -> int:
        """How many requests are queued."""
        return sum(len(queue) for queue in self._queues.values())

    def take(self) -> bool:
        """Take a seat if there is one and nobody waits for it."""
        limits = self.limits
        if limits is not None and (self.executing >= limits.seats or self._queues):
            return False
        self.executing += 1
        return True

    async def wait(self, flow: str, timeout: float) -> None:
        """Wait for a seat, which is then taken. Raises Rejected when the queue is full or the time is up."""
        limits = self.limits
        if limits is None:
            self.executing += 1
            return
        if not limits.queues:
            raise Rejected("concurrency-limit")
        place = self._shortest(hand_of(flow, limits.queues, limits.hand))
        queue = self._queues.get(place)
        if queue is not None and len(queue) >= limits.length:
            raise Rejected("queue-full")
        if queue is None:
            queue = self._queues[place] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._serve()
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException as error:
            self._give_up(place, turn)
            if isinstance(error, TimeoutError):
                raise Rejected("time-out") from None
            raise

    def _shortest(self, hand: Sequence[int]) -> int:
        return min(hand, key=lambda place: len(self._queues.get(place, ())))

    def _give_up(self, place: int, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            # the seat came, but too late
            self.leave()
            return
        queue = self._queues.get(place)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[place]

    def leave(self) -> None:
        """Give a seat back: whose turn it is takes it."""
        self.executing -= 1
        if self._queues:
            self._serve()

    def _serve(self) -> None:
        while self._queues and (self.limits is None or self.executing < self.limits.seats):
            place, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[place] = queue
            if not turn.done():
                self.executing += 1
                turn.set_result(None)
