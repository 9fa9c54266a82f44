"""Bootstrap tokens: Secrets of kube-system with which a new machine asks for its first certificate.

A token is `<6 characters>.<16 characters>`; its Secret is `bootstrap-token-<id>`. Whoever presents it is
system:bootstrap:<id> in system:bootstrappers. Source followed: plugin/pkg/auth/authenticator/token/bootstrap.
"""

import base64
import hmac
import logging
import re
from collections.abc import Sequence
from typing import Protocol

from netlab.api import meta
from netlab.api.types import Obj
from netlab.apiserver.authn.certificates import AUTHENTICATED
from netlab.apiserver.wire.message import User

log = logging.getLogger("netlab.apiserver")

NAMESPACE, TYPE, PREFIX = "kube-system", "bootstrap.kubernetes.io/token", "bootstrap-token-"
GROUP = "system:bootstrappers"
TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class Reader(Protocol):
    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Obj | None: ...


def bootstrap_user(token: str, reader: Reader, now: float) -> User | None:
    """The user of a bootstrap token that is good for authentication; None for any other token."""
    match = TOKEN.fullmatch(token)
    if match is None:
        return None
    token_id, secret_part = match.groups()
    secret = reader.read("v1", "Secret", NAMESPACE, PREFIX + token_id)
    if secret is None or meta.deleting(secret) or secret.get("type") != TYPE:
        return None
    data = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
    if not hmac.compare_digest(data.get("token-secret", "").encode(), secret_part.encode()):
        return None
    if data.get("token-id") != token_id or data.get("usage-bootstrap-authentication") != "true":
        return None
    if expired(data.get("expiration", ""), now):
        return None
    groups = _groups(data.get("auth-extra-groups", ""))
    return User(f"system:bootstrap:{token_id}", (*groups, AUTHENTICATED)) if groups else None


def expired(expiration: str, now: float) -> bool:
    """Whether a token's expiration (RFC 3339, empty: never) is past; one that cannot be read counts as past."""
    if not expiration:
        return False
    try:
        return meta.parse_time(expiration) <= now
    except ValueError:
        return True


def _groups(extra: str) -> Sequence[str]:
    """All groups, sorted; none at all where one of them is not allowed."""
    asked = {group for group in extra.split(",") if group}
    for group in asked:
        if _EXTRA_GROUP.fullmatch(group) is None:
            log.info("bootstrap token with a group that is not allowed: %s", group)
            return ()
    return sorted({GROUP, *asked})


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except ValueError:
        return ""
