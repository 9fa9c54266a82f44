"""resource-consumer: uses as much processor or memory as it is told to, for as long (test/images/resource-consumer).

POST /ConsumeCPU (millicores, durationSec), /ConsumeMem (megabytes, durationSec), /BumpMetric (metric, delta,
durationSec); GET /metrics. What is consumed is consumed by processes of its own, which end with it.
"""

import _thread
import os
import socket
import time

from netlab.runtime.builtin.common import integer, listen, parse_flags
from netlab.runtime.builtin.web import Request, Response, Server, error

_SLICE = 0.01
"""Seconds: in each such slice of time a process is busy for its share."""
_NOT_GIVEN, _INCORRECT = "not given functionArgument", "incorrect functionArgument"
_metrics: dict[str, float] = {}
_lock = _thread.allocate_lock()


def shares(millicores: int) -> list[float]:
    """How busy each process is, 1 at most."""
    whole, rest = divmod(max(millicores, 0), 1000)
    return [1.0] * whole + ([rest / 1000] if rest else [])


def _burn(share: float, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        while time.monotonic() - now < _SLICE * share:
            pass
        time.sleep(_SLICE * (1 - share))


def _hold(megabytes: int, seconds: float) -> None:
    held = bytearray(megabytes << 20)
    held[::4096] = b"x" * len(range(0, len(held), 4096))
    time.sleep(seconds)


def _beside(work: "object", *arguments: float) -> None:
    """In a process of its own, waited for by a thread so that it leaves nothing behind."""
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)  # type: ignore[operator]
        finally:
            os._exit(0)
    _thread.start_new_thread(os.waitpid, (child, 0))


def _bump(metric: str, delta: float, seconds: float) -> None:
    with _lock:
        _metrics[metric] = _metrics.get(metric, 0.0) + delta
    time.sleep(seconds)
    with _lock:
        _metrics[metric] -= delta


def _shown() -> str:
    with _lock:
        return "".join(
            f"# HELP {name} info message.\n# TYPE {name} gauge\n{name} {value:f}\n" for name, value in _metrics.items()
        )


def answer(request: Request) -> Response:
    if request.path == "/metrics":
        return Response(_shown())
    if request.method != "POST":
        return error("Bad request. Not a POST request", 400)
    if request.path == "/GetCurrentStatus":
        return Response("Warning: not implemented!\nGetCurrentStatus")
    wanted = {
        "/ConsumeCPU": ("millicores", "durationSec"),
        "/ConsumeMem": ("megabytes", "durationSec"),
        "/BumpMetric": ("metric", "delta", "durationSec"),
    }.get(request.path)
    if wanted is None:
        return error(f"unknown function: {request.path}", 404)
    values = [request.value(name) for name in wanted]
    if not all(values):
        return error(_NOT_GIVEN, 400)
    try:
        seconds = int(values[-1])
        if request.path == "/BumpMetric":
            _thread.start_new_thread(_bump, (values[0], float(values[1]), seconds))
        elif request.path == "/ConsumeCPU":
            for share in shares(int(values[0])):
                _beside(_burn, share, seconds)
        else:
            _beside(_hold, int(values[0]), seconds)
    except ValueError:
        return error(_INCORRECT, 400)
    told = "".join(f"{value} {name}\n" for value, name in zip(values, wanted, strict=True))
    return Response(f"{request.path[1:]}\n{told}")


def main(*arguments: str) -> int:
    flags = {"port": "8080"}
    parse_flags(arguments, flags)
    server = Server(answer)
    server.add(listen(socket.SOCK_STREAM, integer(flags, "port")))
    server.run()
    return 0
