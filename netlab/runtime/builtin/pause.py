"""pause: holds a pod's namespaces until it is told to end; as PID 1 of the pod it reaps what is left to it."""

import os
import signal
import sys
from typing import Any


def main(*_arguments: str) -> int:
    def end(_number: int, _frame: Any) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then reaps
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
