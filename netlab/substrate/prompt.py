"""Mininet's prompt on a running lab: `python -m netlab.substrate.prompt TOPOLOGY [-c COMMAND]`, inside the lab."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from netlab.substrate.lab import attach
from netlab.substrate.mn import CLI, error, setLogLevel
from netlab.topology import load


class Prompt(CLI):  # type: ignore[misc]
    """Mininet's CLI, with one more way of failing: a command that cannot be done says so and the prompt goes on."""

    failed = False

    def onecmd(self, line: str) -> Any:
        try:
            return super().onecmd(line)
        except (LookupError, OSError, RuntimeError) as problem:
            error(f"*** {problem.args[-1] if problem.args else problem}\n")
            self.failed = True
            return None


class _One(Prompt):
    """Reads nothing: runs the commands it is given."""

    def run(self) -> None:
        pass


def main(argv: Sequence[str] | None = None) -> int:
    """The prompt, or one command of it; 1 where that command could not be done."""
    parser = argparse.ArgumentParser(prog="klab mininet")
    parser.add_argument("topology")
    parser.add_argument("-c", "--command")
    options = parser.parse_args(argv)
    setLogLevel("info")
    net = attach(load(options.topology))
    try:
        if options.command is None:
            Prompt(net)
            return 0
        silent, _held = os.pipe()  # never readable, so that the CLI does not busy itself with our standard input
        prompt = _One(net, stdin=os.fdopen(silent))
        prompt.onecmd(prompt.precmd(options.command))
        return int(prompt.failed)
    finally:
        net.stop()


if __name__ == "__main__":
    sys.exit(main())
