"""Filters and shapes in the words of nft and tc: the whole of a namespace at once. PURE."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.dataplane.shaping import Shaping
from netlab.lab.faults.effects import Filter, Shape

TABLE = "netlab-faults"
FAMILIES = ("netdev", "inet")
HOOKS = {
    "prerouting": "type filter hook prerouting priority -310",
    "output": "type filter hook output priority -310",
    "tracked": "type filter hook prerouting priority -199",
    "sent": "type filter hook output priority -199",
}
"""Chain → where it is. Connection tracking is at -200: the first two come before it, the others right behind."""


def nft(filters: Sequence[Filter]) -> str:
    """One namespace's tables, replacing what was there; without filters they go."""
    lines = []
    for family in FAMILIES:
        lines += [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]
    lines += _table("netdev", {f"in-{one.dev}": _ingress(one.dev) for one in filters if one.dev}, filters)
    lines += _table("inet", {one.hook: HOOKS[one.hook] for one in filters if one.hook}, filters)
    return "\n".join(lines) + "\n"


def _ingress(dev: str) -> str:
    return f'type filter hook ingress device "{dev}" priority -500'


def _table(family: str, chains: dict[str, str], filters: Sequence[Filter]) -> list[str]:
    if not chains:
        return []
    lines = [f"table {family} {TABLE} {{"]
    for chain, base in chains.items():
        lines += [f"  chain {chain} {{", f"    {base}; policy accept;"]
        lines += [f"    {one.rule}" for one in filters if (f"in-{one.dev}" if one.dev else one.hook) == chain]
        lines.append("  }")
    return [*lines, "}"]


def merged(own: Shaping, shapes: Sequence[Shape]) -> Shape:
    """The link's own shaping (its bandwidth, delay and jitter) and the faults' together: the slowest rate, the sum of
    the delays, the most of the rest. Loss of the link stays with `tc`."""
    rates = [rate for rate in (own.bandwidth_bps, *(one.bandwidth_bps for one in shapes)) if rate]
    return Shape(
        "",
        own.dev,
        bandwidth_bps=min(rates) if rates else None,
        delay_s=own.delay_s + sum(one.delay_s for one in shapes),
        jitter_s=own.jitter_s + sum(one.jitter_s for one in shapes),
        duplicate=max((one.duplicate for one in shapes), default=0.0),
        reorder=max((one.reorder for one in shapes), default=0.0),
        seed=next((one.seed for one in shapes if one.seed is not None), None),
    )


def tc(own: Shaping, shapes: Sequence[Shape]) -> list[list[str]]:
    """`tc` commands that make an interface so; without faults what the topology says, or nothing.

    The first takes away what was there; where there was nothing it fails, and that is well.
    """
    found = [["tc", "qdisc", "del", "dev", own.dev, "root"]]
    if not shapes:
        return found + [line.split() for line in own.commands()]
    shape = merged(own, shapes)
    parent = ["root"]
    if shape.bandwidth_bps is not None:
        sized = Shaping(own.dev, shape.bandwidth_bps, mtu=own.mtu)
        bucket = ["rate", f"{shape.bandwidth_bps}bit", "burst", str(sized.burst), "limit", str(sized.limit)]
        found.append(["tc", "qdisc", "replace", "dev", own.dev, "root", "handle", "5:", "tbf", *bucket])
        parent = ["parent", "5:1"]
    words = _netem(shape, own)
    if words:
        found.append(["tc", "qdisc", "replace", "dev", own.dev, *parent, "handle", "10:", "netem", *words])
    return found


def _netem(shape: Shape, own: Shaping) -> list[str]:
    words: list[str] = []
    if shape.delay_s or shape.jitter_s:
        words += ["delay", _us(shape.delay_s), *([_us(shape.jitter_s)] if shape.jitter_s else [])]
    words += ["reorder", _percent(shape.reorder)] if shape.reorder else []
    words += ["duplicate", _percent(shape.duplicate)] if shape.duplicate else []
    words += ["loss", _percent(own.loss)] if own.loss else []
    queue = Shaping(own.dev, shape.bandwidth_bps, shape.delay_s, shape.jitter_s).packets
    return ["limit", str(queue), *words] if words else []


def _us(value: float) -> str:
    return f"{round(value * 1e6)}us"


def _percent(value: float) -> str:
    return f"{value * 100:g}%"
