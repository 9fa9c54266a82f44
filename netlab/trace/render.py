"""A flow's story as text for a terminal: one block per packet, one line per sight, the change between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netlab.trace.packet import TCP, Packet
from netlab.trace.story import Frame, hops

Explain = Callable[[Frame, str], str]
"""(the frame after a change, the change) → the rule or entry behind it, or an empty string."""


def summary(packet: Packet) -> str:
    """One packet in one line, without its encapsulation: `TCP 10.244.1.2:41000 → 10.96.7.1:80 SYN`."""
    inner = packet.innermost
    text = f"{inner.protocol_name} {inner.source} → {inner.destination}"
    if inner.flags:
        text += " " + ",".join(inner.flags)
    elif inner.info and inner.protocol != TCP:
        text += f" {inner.info}"
    if inner.payload:
        text += f" {len(inner.payload)} bytes"
    return text


def outer(packet: Packet) -> str:
    """The encapsulation of a packet: `VXLAN VNI 1 in UDP 192.168.0.3:51234 → 192.168.0.4:8472`, or nothing."""
    if packet.inner is None:
        return ""
    return f"VXLAN VNI {packet.vni} in UDP {packet.source} → {packet.destination}"


def story(
    packets: Sequence[Sequence[Frame]],
    *,
    names: Mapping[str, str] | None = None,
    explain: Explain | None = None,
) -> str:
    """The whole flow. `names` translates addresses that a reader knows by name; `explain` finds the rule behind."""
    lines: list[str] = []
    start = packets[0][0].time if packets and packets[0] else 0.0
    for number, sights in enumerate(packets, 1):
        lines.append(f"packet {number}  {named(summary(sights[0].packet), names)}")
        width = max(len(f"{frame.place} {frame.interface}") for frame in sights)
        for hop in hops(sights):
            frame = hop.frame
            for change in hop.changes:
                lines.append(f"      │ {change}")
                reason = explain(frame, change) if explain else ""
                if reason:
                    lines.append(f"      │   by {reason}")
            where = f"{frame.place} {frame.interface}".ljust(width)
            what = summary(frame.packet)
            if frame.packet.inner is not None:
                what = f"{outer(frame.packet)} ▸ {what}"
            lines.append(
                f"  {(frame.time - start) * 1e6:7.0f} µs  {where}  ttl {frame.packet.innermost.ttl:3d}  {what}"
            )
        lines.append("")
    return "\n".join(lines)


def named(text: str, names: Mapping[str, str] | None) -> str:
    """`text` with the name put behind every address that has one."""
    for address in sorted(names or (), key=len, reverse=True):
        assert names is not None  # noqa: S101
        text = text.replace(f"{address}:", f"{address}({names[address]}):")
    return text
