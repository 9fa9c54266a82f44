"""Mininet's prompt on a running lab: `python -m netlab.substrate.prompt TOPOLOGY [-c COMMAND]`, inside the lab."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from netlab.substrate.lab import attach
from netlab.substrate.mn import CLI, error, lg, setLogLevel
from netlab.topology import load


class Prompt(CLI):  # type: ignore[misc]
    """Mininet's CLI, with one more way of failing: a command that cannot be done says so and the prompt goes on."""

    def onecmd(self, line: str) -> Any:
        try:
            return super().onecmd(line)
        except (LookupError, OSError, RuntimeError) as problem:
            error(f"*** {problem.args[-1] if problem.args else problem}\n")
            return None


class _One(Prompt):
    """Reads nothing: runs the commands it is given. `status` is the last one's."""

    status = 0

    def run(self) -> None:
        pass

    def default(self, line: str) -> None:
        """A node's command: its exit status is ours."""
        super().default(line)
        name, arguments, _ = self.parseline(line)
        if name in self.mn and arguments:
            self.status = int(self.mn[name].cmd("echo $?"))


class _Errors(logging.Handler):
    """Whether Mininet has called anything an error: that is all it says when a command cannot be done."""

    seen = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = self.seen or record.levelno >= logging.ERROR


def main(argv: Sequence[str] | None = None) -> int:
    """The prompt, or one command of it: then a node's exit status, or 1 where Mininet could not do it."""
    parser = argparse.ArgumentParser(prog="klab mininet")
    parser.add_argument("topology")
    parser.add_argument("-c", "--command")
    options = parser.parse_args(argv)
    setLogLevel("info" if options.command is None else "output")
    net = attach(load(options.topology))
    try:
        if options.command is None:
            Prompt(net)
            return 0
        silent, _held = os.pipe()  # never readable, so that the CLI does not busy itself with our standard input
        prompt = _One(net, stdin=os.fdopen(silent))
        errors = _Errors()
        lg.addHandler(errors)
        prompt.onecmd(prompt.precmd(options.command))
        return prompt.status or int(errors.seen)
    finally:
        net.stop()


if __name__ == "__main__":
    sys.exit(main())
