"""The `coredns` program: `coredns -conf FILE`. Reads, serves, reloads, ends."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from netlab.dns.config import Config
from netlab.dns.corefile import CorefileError
from netlab.dns.directives import read
from netlab.dns.server import DnsServer, LoopFoundError

if TYPE_CHECKING:
    from netlab.client.client import Client

log = logging.getLogger("coredns")

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Load = Callable[[], Config]
"""The configuration as the file is now. CorefileError, OSError."""


def load(file: Path, substituted: Callable[[str], str] = lambda text: text) -> Config:
    """A Corefile and what it imports."""

    def read_files(pattern: str) -> list[tuple[str, str]]:
        base = Path("/") if pattern.startswith("/") else file.parent
        return [(str(found), found.read_text()) for found in sorted(base.glob(pattern.lstrip("/"))) if found.is_file()]

    return read(substituted(file.read_text()), str(file), read_files=read_files)


def in_cluster_client(directory: Path = SERVICE_ACCOUNT) -> Client:
    """A client with the pod's own service account, as client-go's rest.InClusterConfig."""
    import ssl

    from netlab.api.version import user_agent
    from netlab.client.client import Client
    from netlab.client.in_cluster import api_url
    from netlab.client.transport import HttpTransport

    url = api_url()
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    token = (directory / "token").read_text().strip()
    return Client(HttpTransport(url, context, token, user_agent=user_agent("coredns")))


def own_addresses() -> tuple[str, ...]:
    """The pod's, as its /etc/hosts has them."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM)
    except OSError:
        return ()
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    return tuple(one for one in addresses if not one.startswith(("127.", "::1", "fe80:")))


class Program:
    """One run of the server, from its Corefile to its end."""

    def __init__(self, server: DnsServer, load_again: Load) -> None:
        self.server, self._load = server, load_again
        self._done = asyncio.Event()
        self._look = asyncio.Event()
        self._loaded = server.config.sha512
        """Of the last text that was tried, be it wrong."""

    async def run(self) -> None:
        """Serve until SIGTERM, then stay for the lameduck time so that no question is lost while endpoints go."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._done.set)
        loop.add_signal_handler(signal.SIGUSR1, self._look.set)
        await self.server.start()
        self._announce()
        tasks = [asyncio.create_task(self._follow_file()), asyncio.create_task(self._watch_loops())]
        await self._done.wait()
        log.info("SIGTERM: Shutting down servers then terminating")
        if self.server.config.lameduck:
            log.info("plugin/health: Going into lameduck mode for %gs", self.server.config.lameduck)
            await asyncio.sleep(self.server.config.lameduck)
        for task in tasks:
            task.cancel()
        await self.server.close()

    def _announce(self) -> None:
        config = self.server.config
        for block in config.blocks:
            for zone in block.zones:
                log.info("%s:%d", zone, block.port, extra={"bare": True})
        if config.reload is not None:
            log.info("plugin/reload: Running configuration SHA512 = %s", config.sha512)
        log.info("CoreDNS-%s", "1.12.1, netlab's own", extra={"bare": True})

    async def _watch_loops(self) -> None:
        try:
            await self.server.check_loops()
        except LoopFoundError as found:
            log.critical("%s", found)
            logging.shutdown()
            raise SystemExit(1) from None

    async def _follow_file(self) -> None:
        """Looks at the file every so often, and when SIGUSR1 says so."""
        while True:
            try:
                async with asyncio.timeout(self.server.config.reload):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            await self.look()

    async def look(self) -> None:
        """Reload if the file says something else than before. What is wrong is logged once, and changes nothing."""
        try:
            config = self._load()
        except CorefileError as error:
            self._failed(f"wrong {hashlib.sha512(str(error).encode()).hexdigest()}", str(error))
            return
        except OSError:
            return  # between two versions of the volume there may be no file
        if config.sha512 == self._loaded:
            return
        log.info("Reloading")
        try:
            await self.server.reload(config)
        except OSError as error:
            self._failed(config.sha512, str(error))
            return
        self._loaded = config.sha512
        log.info("plugin/reload: Running configuration SHA512 = %s", config.sha512)
        log.info("Reloading complete")

    def _failed(self, digest: str, text: str) -> None:
        if digest == self._loaded:
            return
        self._loaded = digest
        self.server.metrics.add("coredns_reload_failed_total")
        log.error("Restart failed: %s", text)
        log.error("plugin/reload: Corefile changed but reload failed: %s", text)


class _Formatter(logging.Formatter):
    """CoreDNS' lines: [INFO] text; the ones that name the zones and the version are bare."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        level = {"CRITICAL": "FATAL"}.get(record.levelname, record.levelname)
        return text if getattr(record, "bare", False) else f"[{level}] {text}"


def log_to_stdout() -> None:
    """As CoreDNS does, everything."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def option(words: list[str], name: str, default: str) -> str:
    """The value of `-name VALUE` or `-name=VALUE`."""
    for index, word in enumerate(words):
        if word.lstrip("-") == name and index + 1 < len(words):
            return words[index + 1]
        if word.lstrip("-").startswith(f"{name}="):
            return word.partition("=")[2]
    return default


def serve(load_again: Load, hosts: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> None:
    """Load the configuration and serve by it until SIGTERM. SystemExit with one sentence where it is wrong."""
    import uvloop

    from netlab.client.in_cluster import any_address

    log_to_stdout()
    try:
        config = load_again()
    except (OSError, CorefileError) as error:
        raise SystemExit(str(error)) from None

    async def start() -> None:
        needs_api = any(block.kubernetes is not None for block in config.blocks)
        client = in_cluster_client() if needs_api else None
        server = DnsServer(config, client=client, hosts=hosts or any_address(), own=own or own_addresses())
        await Program(server, load_again).run()

    try:
        uvloop.run(start())
    except OSError as error:
        raise SystemExit(f"Listen: {error}") from None


def main(*arguments: str) -> None:
    """`coredns -conf FILE`."""
    words = list(arguments)
    file = Path(option(words, "conf", "Corefile"))
    serve(lambda: load(file))
