"""Kubeconfig files to what a transport needs."""

from __future__ import annotations

import ssl
from pathlib import Path

from netlab.api.types import Obj


def load(source: Path | str | Obj, context: str | None = None) -> tuple[str, ssl.SSLContext | None, str | None]:
    """(server URL, TLS context with the client certificate, bearer token) of the current or the named context.

    Raises ValueError that names the file and the missing entry.
    """
    raise NotImplementedError
