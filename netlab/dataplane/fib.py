"""Routing tables and policy rules as a packet meets them: all tables, with the kernel's own routes. PURE data.

`model.Route` is what netlab writes, into the main table; the trace must also know what the kernel and others wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.dataplane.model import Hop


@dataclass(frozen=True, slots=True)
class FibRoute:
    """A route of any table. `dst` is always a CIDR; `kind` the kernel's type; `dead`: its link has no carrier."""

    table: int
    dst: str
    kind: str
    dev: str = ""
    via: str = ""
    src: str = ""
    metric: int = 0
    onlink: bool = False
    scope: int = 0
    protocol: int = 0
    hops: tuple[Hop, ...] = ()
    dead: bool = False

    def __str__(self) -> str:
        words = [*([self.kind] if self.kind != "unicast" else []), self.dst.replace("0.0.0.0/0", "default")]
        words += [str(hop) for hop in self.hops]
        words += [f"via {self.via}"] if self.via else []
        words += [f"dev {self.dev}"] if self.dev else []
        words += ["onlink"] if self.onlink else []
        words += [f"src {self.src}"] if self.src else []
        words += [f"table {self.table}"] if self.table not in (253, 254, 255) else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A policy rule. `unknown` names a selector that the trace does not interpret, "" for none."""

    priority: int
    action: str
    table: int = 0
    src: str = ""
    dst: str = ""
    iif: str = ""
    oif: str = ""
    mark: int = 0
    mask: int = 0
    invert: bool = False
    unknown: str = ""
