"""resolv.conf(5), as far as a pod's has it. Pure."""

from __future__ import annotations


def parse(text: str) -> tuple[list[str], list[str], int]:
    """Name servers, search list, ndots."""
    servers: list[str] = []
    searches: list[str] = []
    ndots = 1
    for line in text.splitlines():
        key, *values = line.split() or [""]
        if key == "nameserver" and values:
            servers.append(values[0])
        elif key == "search":
            searches = values
        elif key == "options":
            for value in values:
                if value.startswith("ndots:") and value[6:].isdigit():
                    ndots = int(value[6:])
    return servers, searches, ndots
