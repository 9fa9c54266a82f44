"""A report as a pcapng file: one interface for each place and device on the way, in the order of the hops. PURE."""

from __future__ import annotations

import base64

from netlab.trace import pcapng
from netlab.trace.model import Report

_KINDS = {"in": 0, "broadcast": 1, "multicast": 2, "other": 3, "out": 4}


def to_pcapng(found: Report) -> bytes:
    """Opens in Wireshark: interfaces are called "place:device", and addresses have their names."""
    order: dict[tuple[str, str], int] = {}
    for trace in (found.observed, found.observed.reply if found.observed else None):
        for hop in trace.hops if trace else ():
            order.setdefault((hop.place, hop.interface), len(order))
    for place, interface, *_ in found.frames:
        order.setdefault((place, interface), len(order))
    flow = str(found.observed.flow) if found.observed else ""
    made = [pcapng.section("klab trace", "Linux", flow)]
    made += [pcapng.interface(f"{place}:{interface}", f"{interface} of {place}") for place, interface in order]
    made.append(pcapng.name_resolution(_one_word(found)))
    for place, interface, direction, time, data in sorted(found.frames, key=lambda frame: frame[3]):
        raw = base64.b64decode(data)
        made.append(pcapng.packet(order[place, interface], time, raw, len(raw), _KINDS.get(direction, 0)))
    return b"".join(made)


def _one_word(found: Report) -> dict[str, str]:
    return {address: name.replace("/", ".") for address, name in found.names.items()}
