"""How fast this machine is: the lab's short periods (see netlab.api.timing) suppose one that computes natively.

Under an emulator, or on a very small processor, a lease of four seconds expires while its holder still works, and nodes
that are well turn NotReady. Such a machine gets upstream's periods, which are long enough, and more time to start.
"""

from __future__ import annotations

import time

LOOPS = 10_000
SLOW = 100e-9
"""Seconds of processor time for one turn of an empty loop. Processors of the last ten years: 10 to 30 ns; a small
single-board computer: 50; an emulated processor: 150 and more."""
PATIENCE = 5.0
"""On a slow machine everything may take so many times longer."""


def is_slow() -> bool:
    """Whether this machine computes as slowly as an emulated one. Takes 1 ms on one that does not.

    Processor time, not the clock's: a busy machine is not a slow one. The best of a few tries: the first may have to
    fetch or translate the code.
    """
    return min(_turn() for _ in range(3)) > SLOW


def _turn() -> float:
    began = time.thread_time()
    for _ in range(LOOPS):
        pass
    return (time.thread_time() - began) / LOOPS
