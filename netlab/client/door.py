"""A component's own HTTPS port: /healthz, /livez, /readyz with their checks, and /metrics for whoever may read it.

Health is anybody's; everything else is asked about at the API server. Clients are known by a certificate of the
cluster's CA or by a token. Source followed: controller-manager and scheduler of upstream (secure serving, delegated
authentication and authorization).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import orjson

from netlab.api import errors
from netlab.api.errors import StatusError
from netlab.api.measuring import TEXT, Measure, exposition
from netlab.client.client import Client
from netlab.client.gate import ANONYMOUS, Gate, User, certified
from netlab.client.kinds import CONFIG_MAPS

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

AFTER = 2.0
"""Seconds after the start until the port is there: nothing in a starting cluster waits for it."""
_HEALTH = ("/healthz", "/livez", "/readyz")
_PLAIN = "text/plain; charset=utf-8"
_RETRY = 2.0


class Door:
    """`checks` by name, as /healthz lists them; `pages` are further paths with what they show."""

    def __init__(
        self,
        client: Client,
        name: str,
        checks: Mapping[str, Callable[[], bool]],
        pages: Mapping[str, Callable[[], Iterable[Measure]]],
    ) -> None:
        self.client, self.name, self.checks, self.pages = client, name, checks, pages
        self.gate = Gate(client)

    async def serve(self, port: int, after: float = AFTER) -> None:
        """Listen until cancelled. What keeps it from listening is logged: the component does its work without."""
        await asyncio.sleep(after)
        from aiohttp import web

        from netlab.client.certificate import self_signed, serving
        from netlab.client.in_cluster import any_address

        tls = serving(self_signed(self.name), await self._authority())
        http = web.Server(self.handle, access_log=None)
        try:
            listener = await asyncio.get_running_loop().create_server(http, any_address(), port, ssl=tls)
        except OSError as error:
            log.warning("%s cannot listen on port %d: %s", self.name, port, error)
            return
        try:
            await asyncio.Event().wait()
        finally:
            listener.close()
            await http.shutdown(0.1)

    async def _authority(self) -> str:
        """The CA of client certificates, where the API server publishes it."""
        while True:
            try:
                found = await self.client.get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system")
                return str((found.get("data") or {}).get("client-ca-file", ""))
            except (StatusError, OSError) as error:
                log.info("%s: kube-system/extension-apiserver-authentication: %s", self.name, error)
                await asyncio.sleep(_RETRY)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request. Never raises but for cancellation."""
        from aiohttp import web

        try:
            code, body, kind = await self._answer(request)
        except StatusError as error:
            code, body, kind = error.code, orjson.dumps(error.status), "application/json"
        except OSError as error:
            problem = errors.internal(f"the API server does not answer: {error}")
            code, body, kind = problem.code, orjson.dumps(problem.status), "application/json"
        return web.Response(status=code, body=body, headers={"Content-Type": kind})

    async def _answer(self, request: web.BaseRequest) -> tuple[int, bytes, str]:
        path = request.path.rstrip("/") or "/"
        endpoint, _, check = path[1:].partition("/")
        if f"/{endpoint}" in _HEALTH:
            return self.health(endpoint, check, "verbose" in request.query, request.query.getall("exclude", []))
        await self._admit(request, path)
        page = self.pages.get(path)
        if page is None:
            return 404, b"404 page not found\n", _PLAIN
        return 200, await asyncio.to_thread(exposition, list(page())), TEXT

    def health(self, endpoint: str, check: str, verbose: bool, excluded: Iterable[str]) -> tuple[int, bytes, str]:
        """Code, text and type of a health check, in the words of apiserver's healthz."""
        checks = {"ping": lambda: True, **self.checks}
        if check:
            if check not in checks:
                return 404, b"404 page not found\n", _PLAIN
            checks = {check: checks[check]}
        left = [name for name in excluded if name not in checks]
        results = {name: name in excluded or held() for name, held in checks.items()}
        lines = [
            f"[+]{name} {'excluded: ' if name in excluded else ''}ok\n"
            if good
            else f"[-]{name} failed: reason withheld\n"
            for name, good in results.items()
        ]
        if left:
            unknown = " ".join(sorted(left))
            lines.append(f'warn: some health checks cannot be excluded: no matches for "{unknown}"\n')
        if not all(results.values()):
            return 500, f"{''.join(lines)}{endpoint} check failed\n".encode(), _PLAIN
        return 200, f"{''.join(lines)}{endpoint} check passed\n".encode() if verbose else b"ok", _PLAIN

    async def _admit(self, request: web.BaseRequest, path: str) -> None:
        """Raises StatusError 401 or 403."""
        user = await self._who(request)
        verb = request.method.lower()
        if not await self.gate.allows(user, {"path": path, "verb": verb}):
            raise errors.path_forbidden(user.name, verb, path)
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()

    async def _who(self, request: web.BaseRequest) -> User:
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        named = certified(tls.getpeercert() if tls is not None else None)
        return named or await self.gate.bearer(request.headers.get("Authorization", "")) or ANONYMOUS
