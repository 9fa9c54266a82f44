"""Asks an extension server what it serves: the check of availability, discovery, and its schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from netlab.api.types import Obj
from netlab.apiserver.aggregation import identity
from netlab.apiserver.aggregation.documents import discovery_of, own_entry
from netlab.apiserver.aggregation.remotes import Documents, Remote
from netlab.apiserver.pki import Pki

if TYPE_CHECKING:
    from aiohttp import ClientSession

TIMEOUT = 5.0
_AGGREGATED = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class AskError(Exception):
    """No good answer; the text is upstream's."""


class Asking:
    """One client for all remotes, made when the first is asked."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, remote: Remote, place: tuple[str, int]) -> Documents:
        """Raises AskError where discovery does not answer; schemas may be missing."""
        base = f"https://{place[0]}:{place[1]}"
        resources = await self._document(f"{base}{remote.path}", "application/json", must=True)
        aggregated = await self._document(f"{base}/apis", _AGGREGATED)
        entry = own_entry(aggregated, remote) or discovery_of(resources, remote)
        v3 = await self._get(f"{base}/openapi/v3{remote.path}", "application/json")
        v2 = await self._document(f"{base}/openapi/v2", "application/json")
        return Documents(resources, entry, v3 or b"", v2)

    async def _document(self, url: str, accept: str, *, must: bool = False) -> Obj:
        body = await self._get(url, accept, must=must)
        try:
            found = orjson.loads(body or b"null")
        except orjson.JSONDecodeError as error:
            if must:
                raise AskError(f"failing or missing response from {url}: {error}") from None
            found = None
        return found if isinstance(found, dict) else {}

    async def _get(self, url: str, accept: str, *, must: bool = False) -> bytes | None:
        import aiohttp

        try:
            async with self._client().get(url, headers=_headers(accept), allow_redirects=False) as answer:
                if not 200 <= answer.status < 300:
                    if must:
                        why = f"bad status from {url}: {answer.status}"
                        raise AskError(f"failing or missing response from {url}: {why}")
                    return None
                return await answer.read()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if not must:
                return None
            raise AskError(f'failing or missing response from {url}: Get "{url}": {_words(error)}') from None

    def _client(self) -> ClientSession:
        import aiohttp

        if self._session is None:
            connector: Any = aiohttp.TCPConnector(ssl=identity.probing(self._pki), force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        return self._session


def _headers(accept: str) -> list[tuple[str, str]]:
    return [("Accept", accept), *identity.headers(identity.AGGREGATOR)]


def _words(error: BaseException) -> str:
    """Go's net/http for the failures that happen."""
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    cause = getattr(error, "os_error", error)
    reason = (getattr(cause, "strerror", None) or str(cause)).lower()
    return f"dial tcp {host}:{port}: connect: {reason}" if host else str(error)
