"""Mininet, imported without what its import drags along.

Mininet imports one class of distutils, to compare Open vSwitch's version. Python 3.12 has no distutils, and setuptools'
replacement takes 350 ms to import, so the class is provided here while Mininet is imported. Its start-up checks
(`ensureRoot`, which calls exit(1), and `fixLimits`, which writes the machine's sysctls) are marked as done.
"""

from __future__ import annotations

import re
import sys
import types
import warnings
from functools import total_ordering


@total_ordering
class _Version:
    """As much of distutils' StrictVersion as Mininet uses: comparison."""

    def __init__(self, text: str) -> None:
        self.parts = tuple(int(part) for part in re.findall(r"\d+", text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.parts == other.parts

    def __lt__(self, other: _Version) -> bool:
        return self.parts < other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


def _import() -> None:
    missing = [name for name in ("distutils", "distutils.version") if name not in sys.modules]
    stand_in = types.ModuleType("distutils.version")
    stand_in.StrictVersion = _Version  # type: ignore[attr-defined]
    for name in missing:
        sys.modules[name] = stand_in
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mininet.net
            import mininet.nodelib
    finally:
        for name in missing:
            del sys.modules[name]
    mininet.net.Mininet.inited = True


_import()

from mininet.cli import CLI  # noqa: E402
from mininet.link import Intf, Link  # noqa: E402
from mininet.log import error, info, lg, output, setLogLevel  # noqa: E402
from mininet.net import Mininet  # noqa: E402
from mininet.node import Host, Node, Switch  # noqa: E402

__all__ = ["CLI", "Host", "Intf", "Link", "Mininet", "Node", "Switch", "error", "info", "lg", "output", "setLogLevel"]
