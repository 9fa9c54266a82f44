"""The name of a key that tokens are signed with, as tokens' headers and the published key set give it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any


def key_id(public: Any) -> str:
    """Of a public key (`cryptography`'s): its hash. Source followed: pkg/serviceaccount/jwt.go (keyIDFromPublicKey)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
