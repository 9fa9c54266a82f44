"""`python -m netlab.kernel.tables WHAT [NODE…]`: kernel tables of pinned namespaces as JSON lines, for `klab`.

WHAT is `conntrack` (all entries), `conntrack-events` (what changes, until standard input ends) or `ipvs` (virtual and
real servers with their statistics, and the ipsets). Runs inside the lab; decides nothing, and changes nothing.
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from netlab.kernel import conntrack, netns
from netlab.kernel.netns import NetNs

Row = Mapping[str, Any]


def connections(ns: NetNs) -> Iterator[Row]:
    """All entries of both families."""
    for ipv6 in (False, True):
        for entry in conntrack.entries(ns, ipv6=ipv6):
            yield _row(entry)


def _row(entry: conntrack.Entry, event: str = "") -> Row:
    return {
        "proto": entry.proto,
        "state": entry.state,
        "timeout": entry.timeout,
        "original": asdict(entry.original),
        "reply": asdict(entry.reply),
        "assured": bool(entry.status & conntrack.ASSURED),
        "replied": bool(entry.status & conntrack.SEEN_REPLY),
        "mark": entry.mark,
        "event": event,
    }


def servers(ns: NetNs) -> Iterator[Row]:
    """Virtual servers, each with its real servers; then the sets."""
    from netlab.kernel.ipset import IpSetHandle
    from netlab.kernel.ipvs import Ipvs

    for name, found in IpSetHandle(ns).all().items():
        yield {"set": name, "entries": [asdict(entry) for entry in found.entries]}
    ipvs = Ipvs(ns)
    for one in ipvs.servers():
        frontend = one.server.frontend
        reals = [
            {
                **asdict(real.server),
                "active": real.active,
                "inactive": real.inactive,
                "persistent": real.persistent,
                **asdict(real.stats),
            }
            for real in ipvs.reals(frontend)
        ]
        server = asdict(one.server)
        yield {**server.pop("frontend"), **server, **asdict(one.stats), "reals": reals}


def follow(nodes: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """(node, entry with its event) until standard input ends."""
    held = {name: netns.open(name) for name in nodes}
    streams = {conntrack.subscribe(ns): name for name, ns in held.items()}
    by_fd = {stream.sock.fileno(): (stream, name) for stream, name in streams.items()}
    _say({"following": len(by_fd)})
    stdin = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([stdin, *by_fd], [], [])
        if stdin in ready and not sys.stdin.read(1):
            return
        for fd in ready:
            if fd != stdin:
                stream, name = by_fd[fd]
                for event, entry in conntrack.events(stream):
                    yield name, _row(entry, event)


def _say(row: Row) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main(what: str, *nodes: str) -> None:
    if what == "conntrack-events":
        for name, row in follow(nodes):
            _say({"node": name, **row})
        return
    reader = {"conntrack": connections, "ipvs": servers}[what]
    for name in nodes:
        with netns.open(name) as ns:
            for row in reader(ns):
                _say({"node": name, **row})


if __name__ == "__main__":
    main(*sys.argv[1:])
