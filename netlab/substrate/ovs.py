"""Open vSwitch of a lab's own: both daemons in the lab's namespaces, at /run/openvswitch as on any machine.

The machine's own daemons, if it runs any, are of no use here: they move packets in the machine's network namespace,
where a lab changes nothing. The daemons detach, so they belong to PID 1 and outlive whoever started them; the same
call starts what is not there any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from netlab.kernel.command import run
from netlab.kernel.netns import NetNs

PLACE = Path("/run/openvswitch")
DATABASE = PLACE / "conf.db"
SOCKET = f"unix:{PLACE / 'db.sock'}"
SERVER, SWITCHES = "ovsdb-server", "ovs-vswitchd"
PATIENCE = "--timeout=120"
"""ovs-vsctl waits until the switch daemon has done what it was told; without this, for ever."""


def start(ns: NetNs) -> None:
    """Both daemons, in that namespace, where they do not run yet. CommandFailed says what stood in the way."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if not DATABASE.exists():
        _run(ns, "ovsdb-tool", "create", str(DATABASE))
    if _pid(SERVER) is None:
        _run(ns, SERVER, str(DATABASE), f"--remote=p{SOCKET}", *_detached(SERVER))
    if _pid(SWITCHES) is None:
        vsctl(ns, "--no-wait", "init")
        _run(ns, SWITCHES, SOCKET, *_detached(SWITCHES))


def stop() -> None:
    """End both, and forget the switches."""
    for name in (SWITCHES, SERVER):
        pid = _pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    DATABASE.unlink(missing_ok=True)


def daemons() -> dict[str, int | None]:
    """Both daemons' processes, by name; None where one does not run."""
    return {name: _pid(name) for name in (SERVER, SWITCHES)}


def add_bridge(ns: NetNs, name: str) -> None:
    """A learning switch without a controller; there already is no error."""
    vsctl(ns, "--may-exist", "add-br", name, "--", "set-fail-mode", name, "standalone")


def vsctl(ns: NetNs, *words: str) -> None:
    """`ovs-vsctl`, to this lab's database. CommandFailed."""
    _run(ns, "ovs-vsctl", f"--db={SOCKET}", PATIENCE, *words)


def _run(ns: NetNs, *argv: str) -> None:
    places = dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"), str(PLACE))
    run(ns, argv, env={**os.environ, **places})


def _detached(name: str) -> tuple[str, ...]:
    return "--detach", "--no-chdir", f"--pidfile={PLACE / name}.pid", "-vconsole:emer", "-vsyslog:off"


def _pid(name: str) -> int | None:
    """The daemon's process, where it runs: its file may be older than it, and the number another program's by now."""
    try:
        pid = int((PLACE / f"{name}.pid").read_text())
        running = Path(f"/proc/{pid}/comm").read_text().strip() == name
    except (OSError, ValueError):
        return None
    return pid if running else None
