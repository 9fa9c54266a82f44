"""The console script `klab`, also `python -m netlab`: quiet when it is interrupted while it still imports."""

from __future__ import annotations

import signal


def main() -> None:
    """Until the command line is loaded, Ctrl-C ends the process as the kernel does: there is nothing to clear away."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from netlab.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    command_line()


if __name__ == "__main__":
    main()
