"""agnhost test-service-account-issuer-discovery: verifies a mounted token as a stranger would (agnhost/openidmetadata).

From the token's issuer to /.well-known/openid-configuration, from there to the keys, with them the signature (ES256,
RS256), then issuer, audience and times. The arithmetic is here: pods of this image have the standard library only.
"""

import binascii
import hashlib
import json
import time
from typing import Any

from netlab.runtime.builtin.common import log, parse_flags
from netlab.runtime.builtin.https import KLOG
from netlab.runtime.builtin.web import parse_response

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
SHA256_OF_PKCS1 = bytes.fromhex("3031300d060960864801650304020105000420")
# P-256 (FIPS 186-4, D.1.2.3): the prime, a, the order, the base point.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
A = P - 3
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None
Obj = dict[str, Any]


class Invalid(Exception):  # noqa: N818
    """Why the token is not to be trusted."""


def decode(text: str) -> bytes:
    """Base64 for URLs without padding (RFC 7515)."""
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(decode(text), "big")


def _add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % P == 0:
            return None
        slope = (3 * one[0] * one[0] + A) * pow(2 * one[1], -1, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P)
    x = (slope * slope - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def _times(factor: int, point: Point) -> Point:
    result: Point = None
    while factor:
        if factor & 1:
            result = _add(result, point)
        point, factor = _add(point, point), factor >> 1
    return result


def es256(key: Obj, signed: bytes, signature: bytes) -> bool:
    """ECDSA over P-256 with SHA-256 (RFC 7518, 3.4; FIPS 186-4, 6.4.2)."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != 64 or not (0 < r < N and 0 < s < N):
        return False
    digest, inverse = int.from_bytes(hashlib.sha256(signed).digest(), "big"), pow(s, -1, N)
    public = (_number(key["x"]), _number(key["y"]))
    point = _add(_times(digest * inverse % N, G), _times(r * inverse % N, public))
    return point is not None and point[0] % N == r


def rs256(key: Obj, signed: bytes, signature: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3; RFC 8017, 8.2.2)."""
    modulus = _number(key["n"])
    size = (modulus.bit_length() + 7) // 8
    tail = SHA256_OF_PKCS1 + hashlib.sha256(signed).digest()
    wanted = b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail
    opened = pow(int.from_bytes(signature, "big"), _number(key["e"]), modulus)
    return len(signature) == size and opened.to_bytes(size, "big") == wanted


ALGORITHMS = {"ES256": es256, "RS256": rs256}


def split(token: str) -> tuple[Obj, Obj, bytes, bytes]:
    """Header, claims, what is signed, signature. Raises Invalid."""
    try:
        head, body, signature = token.strip().split(".")
        return json.loads(decode(head)), json.loads(decode(body)), f"{head}.{body}".encode(), decode(signature)
    except ValueError as problem:
        raise Invalid(f"oidc: malformed jwt: {problem}") from None


def verify(token: str, issuer: str, audience: str, keys: list[Obj], now: float) -> Obj:
    """The claims of a token that holds. Raises Invalid."""
    head, claims, signed, signature = split(token)
    if claims.get("iss") != issuer:
        raise Invalid(f'oidc: id token issued by a different provider, expected "{issuer}" got "{claims.get("iss")}"')
    audiences = claims.get("aud") or []
    if audience not in ([audiences] if isinstance(audiences, str) else audiences):
        raise Invalid(f'oidc: expected audience "{audience}" got {json.dumps(audiences)}')
    if claims.get("exp", 0) < now:
        raise Invalid("oidc: token is expired")
    check = ALGORITHMS.get(head.get("alg", ""))
    named = [key for key in keys if not head.get("kid") or key.get("kid") == head["kid"]]
    if check is None or not any(check(key, signed, signature) for key in named):
        raise Invalid("failed to verify signature: failed to verify id token signature")
    return claims


def _get(url: str, token: str) -> Obj:
    """A JSON document over HTTPS, trusting the cluster's certificate authority only. Raises OSError, ValueError."""
    import socket
    import ssl

    where, _, path = url.removeprefix("https://").partition("/")
    host, _, port = where.partition(":")
    context = ssl.create_default_context(cafile=f"{PLACE}/ca.crt")
    with socket.create_connection((host, int(port or 443)), 10) as raw, \
         context.wrap_socket(raw, server_hostname=host) as sock:  # fmt: skip
        text = f"GET /{path} HTTP/1.1\r\nHost: {where}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        sock.sendall(text.encode())
        data = bytearray()
        while part := sock.recv(65536):
            data += part
    status, body = parse_response(data)
    if status != 200:
        raise ValueError(f"{status}: {body.decode(errors='replace')}")
    found: Obj = json.loads(body)
    return found


def main(*arguments: str) -> int:
    flags = {"token-path": "", "audience": "", **KLOG}
    parse_flags(arguments, flags)
    with open(flags["token-path"]) as file:  # noqa: PTH123
        raw = file.read()
    log("OK: Got token")
    log("validating with in-cluster discovery")
    try:
        _head, claims, _signed, _signature = split(raw)
        issuer = str(claims.get("iss"))
        log(f"OK: got issuer {issuer}")
        log(f"Full, not-validated claims: \n{json.dumps(claims)}")
        with open(f"{PLACE}/token") as file:  # noqa: PTH123
            own = file.read().strip()
        provider = _get(issuer.rstrip("/") + "/.well-known/openid-configuration", own)
        if provider.get("issuer") != issuer:
            text = f'"{issuer}" got "{provider.get("issuer")}"'
            raise Invalid(f"oidc: issuer did not match the issuer returned by provider, expected {text}")
        log(f"OK: Constructed OIDC provider for issuer {issuer}")
        keys = _get(provider["jwks_uri"], own)["keys"]
        found = verify(raw, issuer, flags["audience"], keys, time.time())
    except (Invalid, OSError, ValueError, KeyError) as problem:
        log(f"failed to validate with in-cluster discovery: {problem}")
        return 1
    log("OK: Validated signature on JWT")
    log("OK: Got valid claims from token!")
    log(f"Full, validated claims: \n{json.dumps(found)}")
    return 0
