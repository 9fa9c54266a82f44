"""Deletes directory trees beside the event loop: many pods that end at once mean ten thousands of unlinks."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from queue import SimpleQueue

_queue: SimpleQueue[Path] = SimpleQueue()
_started = threading.Lock()


def discard(directory: Path) -> None:
    """Delete a directory and all in it, soon. One that is not there is no error."""
    if _started.acquire(blocking=False):  # never released: one thread for the process
        threading.Thread(target=_work, name="rubbish", daemon=True).start()
    _queue.put(directory)


def _work() -> None:
    while True:
        shutil.rmtree(_queue.get(), ignore_errors=True)
