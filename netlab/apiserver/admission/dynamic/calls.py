"""The only file that connects to webhooks: HTTPS by URL, or to a Service's cluster IP (as kube-apiserver without
aggregator routing: what is behind the address is kube-proxy's business).

Source followed: apiserver `pkg/util/webhook` (`client.go`, `serviceresolver.go`, `error.go`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from netlab.api import errors, meta
from netlab.api.types import Obj

if TYPE_CHECKING:
    import aiohttp

    from netlab.apiserver.api import Api

_LARGEST = 3 << 20
_MOST_CONTEXTS = 64


class CallError(Exception):
    """The webhook was not reached, or did not answer; str() says how, as Go's client says it."""


class Caller:
    """Calls webhooks; connections are kept for the next call."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, api: Api, client: Obj, body: Obj, timeout: float) -> Any:
        """The JSON that a webhook answers. Raises CallError."""
        shown, connect, name = target(api, client, timeout)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "kube-apiserver-admission",
        }
        if name:
            headers["Host"] = urlsplit(shown).netloc
        prefix = f"Post {errors.quote(shown)}: "
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(connect, body, headers, self._context(client), name)
        except TimeoutError:
            raise CallError(f"{prefix}context deadline exceeded") from None
        except CallError as error:
            raise error from None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise CallError(prefix + _reason(error)) from None

    async def _exchange(self, url: str, body: Obj, headers: dict[str, str], tls: ssl.SSLContext, name: str) -> Any:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30))
        try:
            async with self._session.post(
                url,
                data=orjson.dumps(body),
                headers=headers,
                ssl=tls,
                server_hostname=name or None,
                allow_redirects=False,
            ) as answer:
                content = await answer.content.read(_LARGEST + 1)
                status = answer.status
        except aiohttp.ClientConnectorError as error:
            raise OSError(_connector_reason(error)) from None
        except aiohttp.ClientError as error:
            raise OSError(str(error) or type(error).__name__) from None
        if status >= 300:
            raise CallError(_status_reason(status, content))
        if len(content) > _LARGEST:
            raise CallError(f"the response body is larger than {_LARGEST} bytes")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise CallError(f"couldn't get version/kind; json parse error: {error}") from None

    def _context(self, client: Obj) -> ssl.SSLContext:
        bundle = client.get("caBundle") or ""
        known = self._contexts.get(bundle)
        if known is None:
            known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if bundle:
                try:
                    known.load_verify_locations(cadata=base64.b64decode(bundle).decode())
                except (binascii.Error, ValueError, ssl.SSLError) as error:
                    raise CallError(f"unable to load root certificates: {error}") from None
            else:
                known.load_default_certs()
            self._contexts[bundle] = known
            if len(self._contexts) > _MOST_CONTEXTS:
                self._contexts.popitem(last=False)
        return known


def target(api: Api, client: Obj, timeout: float) -> tuple[str, str, str]:
    """The URL as errors name it, the one to connect to, and the name that the certificate must have.

    Raises CallError.
    """
    query = f"timeout={max(1, round(timeout))}s"
    url = client.get("url")
    if url:
        full = f"{url}{'&' if '?' in url else '?'}{query}"
        return full, full, ""
    service = client.get("service") or {}
    namespace, name, port = service.get("namespace", ""), service.get("name", ""), int(service.get("port") or 443)
    path = "/" + str(service.get("path") or "").lstrip("/")
    host = f"{name}.{namespace}.svc"
    shown = f"https://{host}:{port}{path}?{query}"
    found = api.read("v1", "Service", namespace, name)
    if found is None:
        raise CallError(f"Post {errors.quote(shown)}: service {errors.quote(name)} not found")
    if meta.get(found, "spec", "type") == "ExternalName":
        address = str(meta.get(found, "spec", "externalName", default=""))
    else:
        address = str(meta.get(found, "spec", "clusterIP", default=""))
        ports = meta.get(found, "spec", "ports", default=[])
        if not any(one.get("port") == port for one in ports):
            raise CallError(
                f"Post {errors.quote(shown)}: no service port {port} found for service {errors.quote(name)}"
            )
        if address in ("", "None"):
            raise CallError(f"Post {errors.quote(shown)}: service {errors.quote(name)} has no cluster IP")
    place = f"[{address}]" if ":" in address else address
    return shown, f"https://{place}:{port}{path}?{query}", host


def _connector_reason(error: Any) -> str:
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    place = f"{getattr(error, 'host', '')}:{getattr(error, 'port', '')}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate_reason(cause)
    if isinstance(cause, ConnectionRefusedError) or getattr(cause, "errno", None) == 111:
        return f"dial tcp {place}: connect: connection refused"
    if getattr(cause, "errno", None) == 113:
        return f"dial tcp {place}: connect: no route to host"
    if getattr(cause, "errno", None) == 101:
        return f"dial tcp {place}: connect: network is unreachable"
    if getattr(cause, "errno", None) in (-2, -3, -5):
        return f"dial tcp: lookup {getattr(error, 'host', '')}: no such host"
    return str(cause) or type(cause).__name__


def _certificate_reason(error: ssl.SSLCertVerificationError) -> str:
    text = error.verify_message or str(error)
    if "self-signed" in text or "self signed" in text or "unable to get local issuer" in text:
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if "expired" in text:
        return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
    return f"tls: failed to verify certificate: x509: {text}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_reason(error)
    return str(error) or type(error).__name__


def _status_reason(status: int, content: bytes) -> str:
    """As client-go words an answer that is none."""
    text = content[:2048].decode(errors="replace").strip()
    if status == 404:
        return "the server could not find the requested resource"
    if status >= 500:
        return f"an error on the server ({errors.quote(text or 'unknown')}) has prevented the request from succeeding"
    known = {
        400: "the server rejected our request for an unknown reason",
        401: "the server has asked for the client to provide credentials",
    }
    return known.get(status, f"the server responded with the status code {status} but did not return more information")
