"""A TLS Secret whose key and certificate do not belong together. PURE.

Source followed: Go's `crypto/tls.X509KeyPair`, whose errors are the warning's words.
"""

from __future__ import annotations

import base64
import binascii
import re

_BLOCK = re.compile(rb"-----BEGIN ([^-]+)-----\s.*?-----END \1-----", re.DOTALL)


def of_pair(certificate: str, key: str) -> str:
    """Both as a Secret holds them, in base64; "" where the pair is good."""
    try:
        certificates, keys = (_BLOCK.findall(base64.b64decode(text)) for text in (certificate, key))
    except binascii.Error:
        return ""
    kinds, key_kinds = ([kind.decode("latin-1") for kind in found] for found in (certificates, keys))
    if "CERTIFICATE" not in kinds:
        return _no_certificate(kinds)
    if not any(_is_key(kind) for kind in key_kinds):
        return _no_key(key_kinds)
    return _belong(base64.b64decode(certificate), base64.b64decode(key))


def _is_key(kind: str) -> bool:
    return kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY")


def _no_certificate(kinds: list[str]) -> str:
    if not kinds:
        return "tls: failed to find any PEM data in certificate input"
    if len(kinds) == 1 and kinds[0].endswith("PRIVATE KEY"):
        why = "but did find a private key; PEM inputs may have been switched"
        return f"tls: failed to find certificate PEM data in certificate input, {why}"
    skipped = f"in certificate input after skipping PEM blocks of the following types: [{' '.join(kinds)}]"
    return f'tls: failed to find "CERTIFICATE" PEM block {skipped}'


def _no_key(kinds: list[str]) -> str:
    if not kinds:
        return "tls: failed to find any PEM data in key input"
    if kinds == ["CERTIFICATE"]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    skipped = f"in key input after skipping PEM blocks of the following types: [{' '.join(kinds)}]"
    return f'tls: failed to find PEM block with type ending in "PRIVATE KEY" {skipped}'


def _belong(certificate: bytes, key: bytes) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        return "x509: malformed certificate"
    try:
        own = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError):
        return "tls: failed to parse private key"
    if type(own) is not type(public):
        return "tls: private key type does not match public key type"
    return "" if own == public else "tls: private key does not match public key"
