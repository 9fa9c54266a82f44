"""Ports of a pod's containers that meet. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netlab.api.types import Obj
from netlab.api.validation.gofmt import quote


def of(containers: Iterable[tuple[str, Obj]]) -> Iterator[str]:
    """`containers`: each with its path, in the order in which a pod lists them."""
    by_number: dict[tuple[int, str], list[tuple[str, Obj]]] = {}
    by_name: dict[str, str] = {}
    again = []
    for path, container in containers:
        for i, port in enumerate(container.get("ports") or ()):
            at = f"{path}.ports[{i}]"
            if port.get("hostIP") and not port.get("hostPort"):
                yield f"{at}: hostIP set without hostPort: {_as_go(port)}"
            same = by_number.setdefault((port.get("containerPort", 0), port.get("protocol", "TCP")), [])
            for other, there in same:
                how = _meet(port, there)
                if how:
                    yield f"{at}: {how} with {other}"
            same.append((at, port))
            name = port.get("name")
            if name in by_name:
                first = by_name[name]
                used = f"services and probes that select ports by name will use {first}"
                again.append(f"{at}: duplicate port name {quote(name)} with {first}, {used}")
            elif name:
                by_name[name] = at
    yield from again


def _meet(one: Obj, other: Obj) -> str:
    (ip, port), (other_ip, other_port) = ((p.get("hostIP") or "", p.get("hostPort") or 0) for p in (one, other))
    if (ip, port) == (other_ip, other_port):
        return "duplicate port definition"
    if not port or not other_port:
        return "overlapping port definition"
    if port == other_port and bool(ip) != bool(other_ip):
        return "dangerously ambiguous port definition"
    return ""


def _as_go(port: Obj) -> str:
    fields = ("name", "hostPort", "containerPort", "protocol", "hostIP")
    values = (port.get(field) or ("" if field in ("name", "protocol", "hostIP") else 0) for field in fields)
    return (
        "{"
        + " ".join(f"{field[0].upper()}{field[1:]}:{value}" for field, value in zip(fields, values, strict=True))
        + "}"
    )
