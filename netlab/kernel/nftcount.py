"""`python -m netlab.kernel.nftcount ip|ip6 SECONDS`: counts new connections of the namespace it runs in, for `klab`.

A table of its own looks at each connection's first packet before kube-proxy's rules and, where its destination was
translated, behind them; it has no verdict but accept, which is what happens anyway. The table belongs to this process
(`flags owner`): the kernel removes it when the process ends, however it ends. `nft` the program ends at once and cannot
own anything, so this speaks to its library.

Prints {"counting": true} once the table is there, and then a row for each destination and each way it was translated.
"""

from __future__ import annotations

import ctypes
import json
import select
import sys
from collections.abc import Iterator, Mapping
from typing import Any

TABLE = "netlab-explain"
BEFORE, BEHIND = -111, -99
"""kube-proxy's first chain in this hook is at dstnat - 10, its translation at dstnat (-100)."""
LIBRARY = "libnftables.so.1"
JSON_OUTPUT = 1 << 4
FIRST = "meta l4proto { tcp, udp, sctp } ct status ! confirmed"


def table(ip: str) -> str:
    """The table, for `ip` or `ip6`."""
    address = "ipv4_addr" if ip == "ip" else "ipv6_addr"
    came = f"add @came {{ {ip} daddr . meta l4proto . th dport counter }}"
    went = (
        f"ct status dnat add @went {{ ct original {ip} daddr . meta l4proto . ct original proto-dst"
        f" . {ip} daddr . th dport counter }}"
    )
    chains = "".join(
        f"chain {hook}-{name} {{ type filter hook {hook} priority {priority}; policy accept; {FIRST} {what}; }}\n"
        for name, priority, what in (("before", BEFORE, came), ("behind", BEHIND, went))
        for hook in ("prerouting", "output")
    )
    return (
        f"table {ip} {TABLE} {{\n"
        "flags owner;\n"
        f"set came {{ type {address} . inet_proto . inet_service; flags dynamic; size 65535; }}\n"
        f"set went {{ type {address} . inet_proto . inet_service . {address} . inet_service;"
        " flags dynamic; size 65535; }\n"
        f"{chains}}}\n"
    )


class Nft:
    """nft's library with one netlink socket, which owns the tables made over it. OSError where there is no library."""

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL(LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("output", "error"):
            getter = getattr(library, f"nft_ctx_get_{name}_buffer")
            getter.restype, getter.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> str:
        """What the commands print, as JSON where they do. OSError with nft's words where they fail."""
        self._library.nft_ctx_output_set_flags(self._context, ctypes.c_uint(JSON_OUTPUT))
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        said = bytes(self._library.nft_ctx_get_output_buffer(self._context)).decode()
        if failed:
            words = bytes(self._library.nft_ctx_get_error_buffer(self._context)).decode()
            raise OSError(words.strip().splitlines()[0] if words.strip() else "nft refused")
        return said


def rows(listing: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The sets' elements: {"set", "key", "packets", "bytes"}."""
    for entry in listing["nftables"]:
        found = entry.get("set", {})
        for element in found.get("elem", ()):
            inner = element["elem"]
            yield {"set": found["name"], "key": inner["val"]["concat"], **inner["counter"]}


def _say(row: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main(ip: str, seconds: str) -> None:
    """Counts for so long, or until standard input ends."""
    try:
        nft = Nft()
        nft.run(table(ip))
    except OSError as problem:
        raise SystemExit(f"cannot count: {problem}") from None
    _say({"counting": True})
    select.select([sys.stdin], [], [], float(seconds))
    for name in ("came", "went"):
        for row in rows(json.loads(nft.run(f"list set {ip} {TABLE} {name}"))):
            _say(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
