"""Imports aiohttp without the machine's certificate authorities, which it otherwise reads for 40 ms as it is imported.

A lab cannot reach the outside, and inside it only the lab's own authority counts. For the fork server, see components.
"""

from __future__ import annotations

import os

_NONE = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
_before = {name: os.environ.get(name) for name in _NONE}
os.environ.update(_NONE)
try:
    import aiohttp
finally:
    for name, value in _before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value

__all__ = ["aiohttp"]
