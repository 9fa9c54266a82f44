"""What agnhost's servers over TLS share: their flags, a certificate from files or the built-in one."""

import os
import socket
from typing import Any

from netlab.runtime.builtin.common import UsageError, integer, listen, parse_flags
from netlab.runtime.builtin.web import Handler, Server

KLOG = {"v": "0", "alsologtostderr": "false", "logtostderr": "true"}
"""klog's flags, which every agnhost command takes; what they say changes nothing here."""


def context(cert: str, key: str) -> Any:
    """A server's TLS context. Raises OSError when the files cannot be read."""
    import ssl

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(cert, key or None)
    return made


def in_memory(text: str) -> str:
    """A path under which this process reads `text`; for libraries that take files only."""
    handle = os.memfd_create("text")
    os.write(handle, text.encode())
    return f"/proc/self/fd/{handle}"


def serve(arguments: tuple[str, ...], handle: Handler, extra: dict[str, str] | None = None) -> int:
    """Serves `handle` with --tls-cert-file and --tls-private-key-file on --port (443), for ever.

    `extra`: further flags and their defaults; gets their values. Every connection has a thread: handlers may block.
    """
    flags = {"tls-cert-file": "", "tls-private-key-file": "", "port": "443", **KLOG, **(extra or {})}
    parse_flags(arguments, flags)
    if not flags["tls-cert-file"]:
        raise UsageError("Error: --tls-cert-file and --tls-private-key-file are needed")
    if extra is not None:
        extra.update((name, flags[name]) for name in extra)
    server = Server(handle)
    tls = context(flags["tls-cert-file"], flags["tls-private-key-file"])
    server.add(listen(socket.SOCK_STREAM, integer(flags, "port")), tls)
    server.run()
    return 0
