"""The lab's own small talk: one JSON object a line over a Unix socket, between labd, its components and `klab`.

Outside it is `<runtime>/control.sock` (the user's alone), inside `/run/netlab/lab.sock`; the same server answers both.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

from netlab.api.types import Obj
from netlab.sandbox.paths import INSIDE

LAB_SOCKET = INSIDE / "lab.sock"
REPORTS = INSIDE / "reports"
"""An empty file for each component that has reported: labd may have to learn it again."""


def ask(path: Path, request: Obj, timeout: float = 5.0) -> Iterator[Obj]:
    """Send one request and give its answers, one or (for a stream) many, until the other side closes.

    Raises ConnectionError or FileNotFoundError when nobody listens, TimeoutError after `timeout` seconds of silence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)


async def report(component: str, state: str, **details: object) -> None:
    """Tell labd something from inside a component, and leave word for a labd that starts later.

    It may just be starting again, so try for a while.
    """
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / component).touch()
    request: Obj = {"op": "report", "component": component, "state": state, **details}
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_unix_connection(LAB_SOCKET)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.write(json.dumps(request).encode() + b"\n")
        await reader.read()
        writer.close()
        return
