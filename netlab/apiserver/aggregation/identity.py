"""How an extension server is told who asks: the front proxy's client certificate and X-Remote-* headers.

Source followed: client-go transport (SetAuthProxyHeaders), kube-aggregator pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from urllib.parse import quote

from netlab.apiserver.aggregation.remotes import Remote
from netlab.apiserver.pki import Pki
from netlab.apiserver.wire.message import User

AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
NEVER_PASSED = ("authorization", "x-remote-user", "x-remote-uid", "x-remote-group")
EXTRA = "x-remote-extra-"


def headers(user: User) -> list[tuple[str, str]]:
    """One line for each group and each value of what is extra."""
    found = [("X-Remote-User", user.name)]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found += [("X-Remote-Group", group) for group in user.groups]
    found += [(f"X-Remote-Extra-{quote(key, safe='')}", value) for key, values in user.extra for value in values]
    return found


def dropped(names: Iterable[str]) -> frozenset[str]:
    """The client's headers that would speak for somebody: they go no further. Names in lower case."""
    low = {name.lower() for name in names}
    return frozenset(name for name in low if name in NEVER_PASSED or name.startswith((EXTRA, "impersonate-")))


class Contexts:
    """TLS towards extension servers, one context for each way of trusting them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], ssl.SSLContext] = {}

    def of(self, pki: Pki, remote: Remote) -> ssl.SSLContext:
        """Raises ssl.SSLError for a caBundle that holds no certificate."""
        how = (remote.ca, remote.insecure)
        known = self._known.get(how)
        if known is None:
            known = self._known[how] = _context(pki, remote.ca, insecure=remote.insecure)
        return known


def _context(pki: Pki, authority: str, *, insecure: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        context.load_verify_locations(cadata=authority)
    else:
        context.load_default_certs()
    context.load_cert_chain(pki.directory / "front-proxy-client.crt", pki.directory / "front-proxy-client.key")
    return context


def probing(pki: Pki) -> ssl.SSLContext:
    """For the check of availability, which trusts whoever answers."""
    return _context(pki, "", insecure=True)
