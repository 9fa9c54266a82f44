"""Whom the front proxy speaks for, and whether the metrics server believes it.

Source followed: apiserver's delegated authentication (pkg/server/options).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from netlab.client.gate import User


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What kube-system/extension-apiserver-authentication says of the front proxy. `authority` is PEM."""

    authority: str
    names: tuple[str, ...]
    client_authority: str = ""


def proxied(headers: Sequence[tuple[str, str]]) -> User | None:
    """Whom the front proxy speaks for. Header names in any case."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    name = values.get("x-remote-user", [""])[0]
    if not name:
        return None
    prefix = "x-remote-extra-"
    extra = {unquote(key[len(prefix) :]): tuple(found) for key, found in values.items() if key.startswith(prefix)}
    return User(name, tuple(values.get("x-remote-group", ())), tuple(sorted(extra.items())))
