"""Corefile text to configuration: the server blocks and directives that the cluster's DNS follows.

Pure. A directive that is not followed here is an error that names the line, as CoreDNS says it; those that change
nothing in a lab (`errors`, `loop`, `loadbalance`, `reload`, `log`, …) are accepted and listed in `accepted`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from netlab.dns.answers import Pods

IGNORED = frozenset(
    {"errors", "log", "loop", "loadbalance", "reload", "prometheus", "health", "ready", "cache", "bind"}
)


class CorefileError(ValueError):
    """The text says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Directive:
    """`name arguments { block }` at a line."""

    line: int
    name: str
    arguments: tuple[str, ...]
    block: tuple[Directive, ...] = ()


@dataclass(frozen=True, slots=True)
class Corefile:
    """The first server block's meaning; `forward` are "address" or "address:port", or a resolv.conf's path."""

    port: int = 53
    domain: str = "cluster.local"
    ttl: int = 5
    pods: Pods = "disabled"
    forward: tuple[str, ...] = ()
    health_port: int = 8080
    ready_port: int = 8181
    metrics_port: int = 9153
    lameduck: float = 0.0
    accepted: tuple[str, ...] = field(default=())


def tokens(text: str) -> list[list[tuple[int, str]]]:
    """Words by line, comments gone; a brace is a word of its own."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].replace("{", " { ").replace("}", " } ").split()
        if words:
            lines.append([(number, word) for word in words])
    return lines


def parse(text: str) -> list[Directive]:
    """Server blocks as directives: name is the first zone (with its port), arguments the others."""
    stack: list[tuple[tuple[int, str, tuple[str, ...]], list[Directive]]] = [((0, "", ()), [])]
    for line in tokens(text):
        words = [word for _, word in line]
        number = line[0][0]
        if words == ["}"]:
            if len(stack) == 1:
                raise CorefileError(f"Corefile:{number}: a closing brace without an opening one")
            (start, name, arguments), block = stack.pop()
            stack[-1][1].append(Directive(start, name, arguments, tuple(block)))
        elif words[-1] == "{":
            if len(words) == 1:
                raise CorefileError(f"Corefile:{number}: expected a zone or a directive before the brace")
            stack.append(((number, words[0], tuple(words[1:-1])), []))
        elif "{" in words or "}" in words:
            raise CorefileError(f"Corefile:{number}: a brace must end its line, or stand alone")
        else:
            stack[-1][1].append(Directive(number, words[0], tuple(words[1:])))
    if len(stack) > 1:
        raise CorefileError(f"Corefile:{stack[-1][0][0]}: the brace opened here is never closed")
    return stack[0][1]


def read(text: str) -> Corefile:
    """The configuration of the server block that holds the `kubernetes` directive, or of the first one."""
    blocks = parse(text)
    if not blocks:
        raise CorefileError("Corefile: no server block")
    server = next((block for block in blocks if any(d.name == "kubernetes" for d in block.block)), blocks[0])
    values: dict[str, object] = {"port": _port(server)}
    accepted: list[str] = []
    for directive in server.block:
        if directive.name in _READERS:
            values.update(_READERS[directive.name](directive))
        elif directive.name not in IGNORED:
            raise CorefileError(f"Corefile:{directive.line}: Unknown directive '{directive.name}'")
        accepted.append(directive.name)
    return Corefile(**values, accepted=tuple(accepted))  # type: ignore[arg-type]


def seconds(text: str) -> float:
    """A Go duration of one unit, or bare seconds."""
    for suffix, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(suffix):
            return float(text[: -len(suffix)]) * factor
    return float(text)


def _port(server: Directive) -> int:
    _, separator, port = server.name.rpartition(":")
    if not separator:
        return 53
    if not port.isdigit():
        raise CorefileError(f"Corefile:{server.line}: '{server.name}': expected a port number after the colon")
    return int(port)


def _listen_port(directive: Directive, default: int) -> int:
    return int(directive.arguments[0].rpartition(":")[2]) if directive.arguments else default


def _kubernetes(directive: Directive) -> dict[str, object]:
    zones = [zone for zone in directive.arguments if not zone.endswith(".arpa")]
    values: dict[str, object] = {"domain": zones[0].rstrip(".")} if zones else {}
    for option in directive.block:
        if option.name == "ttl":
            values["ttl"] = int(option.arguments[0])
        elif option.name == "pods":
            if option.arguments[:1] not in (("disabled",), ("insecure",), ("verified",)):
                raise CorefileError(f"Corefile:{option.line}: pods: expected disabled, insecure or verified")
            values["pods"] = option.arguments[0]
        elif option.name not in ("fallthrough", "endpoint_pod_names", "ignore", "namespaces", "labels"):
            raise CorefileError(f"Corefile:{option.line}: unknown property '{option.name}'")
    return values


def _forward(directive: Directive) -> dict[str, object]:
    if len(directive.arguments) < 2:
        raise CorefileError(f"Corefile:{directive.line}: forward: expected FROM and at least one TO")
    return {"forward": directive.arguments[1:]}


def _health(directive: Directive) -> dict[str, object]:
    lameduck = next((seconds(option.arguments[0]) for option in directive.block if option.name == "lameduck"), 0.0)
    return {"health_port": _listen_port(directive, 8080), "lameduck": lameduck}


_READERS: dict[str, Callable[[Directive], dict[str, object]]] = {
    "kubernetes": _kubernetes,
    "forward": _forward,
    "health": _health,
    "ready": lambda directive: {"ready_port": _listen_port(directive, 8181)},
    "prometheus": lambda directive: {"metrics_port": _listen_port(directive, 9153)},
}
