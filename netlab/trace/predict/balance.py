"""IPVS: a packet for a virtual server gets a real server's address, below INPUT or in the middle of OUTPUT. PURE."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from netlab.dataplane.explain.ipvs import SCHEDULES, CountedServer
from netlab.dataplane.ipvs.model import Frontend, host_port
from netlab.trace.model import Step
from netlab.trace.predict import endings
from netlab.trace.predict.packet import Pkt
from netlab.trace.predict.state import Machine

if TYPE_CHECKING:
    from netlab.trace.predict.walk import Tracked, Walk


def server_for(machine: Machine, packet: Pkt) -> CountedServer | None:
    """The virtual server of a packet's destination."""
    if packet.dport is None or packet.protocol not in ("tcp", "udp", "sctp"):
        return None
    return machine.servers.get(Frontend(packet.protocol.upper(), packet.dst, packet.dport))  # type: ignore[arg-type]


def balance(walk: Walk, machine: Machine, server: object, packet: Pkt, tracked: Tracked) -> Pkt:
    """The packet with its new destination; Ended where the server has nobody."""
    assert isinstance(server, CountedServer)  # noqa: S101
    frontend = server.server.frontend
    service = walk.world.service(packet.protocol, frontend.address, frontend.port)
    used = [real for real in server.reals if real.server.weight > 0]
    counter = (server.packets, server.bytes or 0) if server.packets is not None else None
    how = SCHEDULES.get(server.server.scheduler, f"scheduler {server.server.scheduler}")
    walk.steps.append(Step("nat", f"IPVS {server.server}: {how}", f"ipvs {frontend}", counter, service, True))
    if not used:
        raise endings.no_real_server(machine.name, frontend, service)
    options = [(host_port(real.server.address, real.server.port), float(real.server.weight)) for real in used]
    chosen = used[walk.oracle.choose(f"ipvs {frontend}", options) if len(options) > 1 else 0].server
    owner = walk.world.name(chosen.address)
    became = f"its destination becomes {host_port(chosen.address, chosen.port)}"
    walk.steps.append(Step("nat", became, owner=owner, deciding=True))
    connection = tracked.connection
    connection.reply = replace(connection.reply, src=chosen.address, sport=chosen.port)
    connection.dnat = True
    return replace(packet, dst=chosen.address, dport=chosen.port, virtual=frontend)
