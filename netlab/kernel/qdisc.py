"""Queueing disciplines as netlink messages: tbf and netem, and what a device has.

Layouts: struct tc_tbf_qopt, struct tc_netem_qopt in linux/pkt_sched.h. The rate table that old kernels wanted is not
sent: a link layer given in the rate makes the kernel compute.
"""

from __future__ import annotations

import struct

from netlab.dataplane.shaping import Shaping
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt

TCA_KIND, TCA_OPTIONS = 1, 2
TCA_TBF_PARMS, TCA_TBF_RATE64, TCA_TBF_BURST = 1, 4, 6
TCA_NETEM_LATENCY64, TCA_NETEM_JITTER64 = 10, 11
TC_H_ROOT = 0xFFFFFFFF
TBF_HANDLE, TBF_CLASS, NETEM_HANDLE = 0x50000, 0x50001, 0x100000
TC_LINKLAYER_ETHERNET = 1
TICKS_PER_US = 15.625
"""The kernel's packet scheduler clock: 64 ns a tick, fixed since 2.6.31."""

_RATESPEC = struct.Struct("=BBHhHI")
_TBF = struct.Struct("=III")
_NETEM = struct.Struct("=IIIIII")
_S64 = struct.Struct("=q")


def requests(shaping: Shaping, index: int) -> list[bytes]:
    """What makes the device with `index` shape its outgoing traffic so; done again, it changes nothing."""
    found = []
    parent = TC_H_ROOT
    if shaping.bandwidth_bps is not None:
        found.append(_replace(index, TBF_HANDLE, TC_H_ROOT, "tbf", _tbf(shaping)))
        parent = TBF_CLASS
    if shaping.needs_netem:
        found.append(_replace(index, NETEM_HANDLE, parent, "netem", _netem(shaping)))
    return found


def clear(index: int) -> bytes:
    """Back to the device's default discipline; ENOENT where it has that already."""
    return nl.message(rt.RTM_DELQDISC, 0, rt.TCMSG.pack(rt.AF_UNSPEC, index, 0, TC_H_ROOT, 0))


def _replace(index: int, handle: int, parent: int, kind: str, options: bytes) -> bytes:
    body = rt.TCMSG.pack(rt.AF_UNSPEC, index, handle, parent, 0)
    flags = nl.NLM_F_CREATE | nl.NLM_F_REPLACE
    return nl.message(rt.RTM_NEWQDISC, flags, body, nl.text(TCA_KIND, kind), nl.attr(TCA_OPTIONS, options))


def _tbf(shaping: Shaping) -> bytes:
    bytes_per_second = max(1, (shaping.bandwidth_bps or 0) // 8)
    rate = _RATESPEC.pack(0, TC_LINKLAYER_ETHERNET, 0, 0, 0, min(bytes_per_second, 0xFFFFFFFF))
    ticks = min(0xFFFFFFFF, int(shaping.burst / bytes_per_second * 1e6 * TICKS_PER_US))
    parms = rate + bytes(_RATESPEC.size) + _TBF.pack(shaping.limit, ticks, 0)
    parts = [nl.attr(TCA_TBF_PARMS, parms), nl.u32(TCA_TBF_BURST, shaping.burst)]
    if bytes_per_second > 0xFFFFFFFF:
        parts.append(nl.attr(TCA_TBF_RATE64, nl.U64.pack(bytes_per_second)))
    return b"".join(parts)


def _netem(shaping: Shaping) -> bytes:
    def ticks(seconds: float) -> int:
        return min(0xFFFFFFFF, int(seconds * 1e6 * TICKS_PER_US))

    loss = min(0xFFFFFFFF, round(shaping.loss * 0xFFFFFFFF))
    options = _NETEM.pack(ticks(shaping.delay_s), shaping.packets, loss, 0, 0, ticks(shaping.jitter_s))
    delay = nl.attr(TCA_NETEM_LATENCY64, _S64.pack(int(shaping.delay_s * 1e9)))
    return options + delay + nl.attr(TCA_NETEM_JITTER64, _S64.pack(int(shaping.jitter_s * 1e9)))


def get(index: int) -> bytes:
    """Dump the disciplines of a device (and, on old kernels, of all)."""
    return nl.message(rt.RTM_GETQDISC, 0, rt.TCMSG.pack(rt.AF_UNSPEC, index, 0, 0, 0))


def kinds(replies: list[nl.Message], index: int) -> tuple[str, ...]:
    """The disciplines of that device among the replies, outermost first."""
    found = []
    for reply in replies:
        _, owner, _, parent, _ = rt.TCMSG.unpack_from(reply.body)
        if owner == index:
            kind = nl.cstring(nl.attributes(reply.body, rt.TCMSG.size)[TCA_KIND])
            found.append((parent != TC_H_ROOT, kind))
    return tuple(kind for _, kind in sorted(found))
