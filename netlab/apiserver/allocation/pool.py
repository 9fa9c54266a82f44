"""PURE. A range of numbers with some taken; the lower band is left for those who choose themselves (KEP-3070, 3668)."""

import random
from collections.abc import Callable, Collection
from itertools import chain

Choose = Callable[[int, int], int]


class Pool:
    """Numbers from `first` to `last`, both included. `static` is the length of the lower band.

    `taken` is shared with pools that overlap this one; `reserved` are numbers that somebody else keeps.
    """

    def __init__(
        self,
        first: int,
        last: int,
        static: int,
        choose: Choose = random.randint,
        *,
        taken: set[int] | None = None,
        reserved: Collection[int] = (),
    ) -> None:
        self.first, self.last, self.static = first, last, static
        self._choose = choose
        self._taken = taken if taken is not None else set()
        self._reserved = reserved

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def taken(self, number: int) -> bool:
        return number in self._taken or number in self._reserved

    def take(self, number: int) -> bool:
        """Whether the number was free (it is taken now)."""
        if self.taken(number):
            return False
        self._taken.add(number)
        return True

    def take_any(self) -> int | None:
        """A free number, from the upper band while it has one; None when all are taken."""
        middle = self.first + self.static
        for low, high in ((middle, self.last), (self.first, middle - 1)):
            number = self._free_in(low, high)
            if number is not None:
                self._taken.add(number)
                return number
        return None

    def give_back(self, number: int) -> None:
        self._taken.discard(number)

    def _free_in(self, low: int, high: int) -> int | None:
        if low > high:
            return None
        start = self._choose(low, high)
        # chained, not listed: a range of addresses can hold a million
        return next((n for n in chain(range(start, high + 1), range(low, start)) if not self.taken(n)), None)


def ip_band(size: int) -> int:
    """Length of the static band of a range of `size` addresses."""
    return 0 if size < 16 else min(max(16, size // 16), 256)


def port_band(size: int) -> int:
    """Length of the static band of a range of `size` ports."""
    return 0 if size < 16 else min(max(16, size // 32), 128)
