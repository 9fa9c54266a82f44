"""The one thread that enters other network namespaces.

`setns` and `unshare` move a thread, not a process, and a thread that has left its namespace is a trap for whatever
runs on it next. So nothing here ever moves the caller's thread: a job is a function, run on a thread that has no other
work and no home to return to. A job should take well under a millisecond; spawn processes and open sockets here, wait
for them elsewhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class _Job(Generic[T]):
    __slots__ = ("done", "error", "function", "result")

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None
        self.result: T | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as problem:
            self.error = problem
        finally:
            self.done.release()


class _Worker:
    """The thread and its queue. A fork leaves the thread behind, so the child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job[object]] | None = None

    def run(self, function: Callable[[], T]) -> T:
        job = _Job(function)
        self._queue().put(job)  # type: ignore[arg-type]
        job.done.acquire()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _queue(self) -> SimpleQueue[_Job[object]]:
        with self._lock:
            if self._jobs is None:
                self._jobs = SimpleQueue()
                threading.Thread(target=_serve, args=(self._jobs,), name="netns", daemon=True).start()
            return self._jobs

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._jobs = None


def _serve(jobs: SimpleQueue[_Job[object]]) -> None:
    while True:
        job = jobs.get()
        job.run()
        del job  # holds the caller's objects until the next job otherwise


_worker = _Worker()
os.register_at_fork(after_in_child=_worker.forked)


def run(function: Callable[[], T]) -> T:
    """Run `function` on the namespace thread and return what it returns, or raise what it raises."""
    return _worker.run(function)
