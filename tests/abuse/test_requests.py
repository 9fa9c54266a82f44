"""Requests that are no HTTP, ask for what is not there, or come from somebody who is nobody."""

from __future__ import annotations

import contextlib
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netlab.apiserver import pki
from tests.abuse.server import CMS, Server


@pytest.mark.parametrize(
    "raw, code",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 3\r\n\r\nabc", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{oops", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET /?" + b"a" * (2 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (2 << 20) + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(100_000)) + b"\r\n", 400),
    ],
)
def test_what_is_no_http(server: Server, raw: bytes, code: int) -> None:
    with server.connect() as connection:
        with contextlib.suppress(ConnectionError):  # it may have heard enough
            connection.sendall(raw)
        said = b""
        while b"\r\n" not in said and (part := connection.recv(65536)):
            said += part
    assert said.split(b" ")[1] == str(code).encode(), said


def test_bodies_that_are_cut_off(server: Server) -> None:
    """Whoever promises more than they send gets nothing; what follows a body that is too short is no request."""
    head = f"POST {CMS} HTTP/1.1\r\nHost: x\r\nContent-Length: "
    whole = b'{"metadata":{"name":"cut"}}'
    for promised, sent in ((len(whole) + 9, whole), (100, b""), (1_000_000, b"{" * 1000)):
        server.raw(head.encode() + b"%d\r\n\r\n" % promised + sent, end=True)
        chunked = f"POST {CMS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        server.raw(chunked + b"%x\r\n" % promised + sent, end=True)
    assert server.ask("GET", f"{CMS}/cut").code == 404
    said = server.raw(head.encode() + b"%d\r\n\r\n" % (len(whole) - 3) + whole + b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert b" 20" not in said.partition(b"Date:")[0], said


@pytest.mark.parametrize(
    "method, path, code, reason",
    [
        ("GET", "/api/v1/namespaces/../../../etc/passwd", 404, "NotFound"),
        ("GET", f"{CMS}/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "NotFound"),
        ("GET", "/..%2f..%2fetc", 404, "NotFound"),
        ("GET", f"{CMS}/..", 404, "NotFound"),
        ("GET", "//api//v1", 404, "NotFound"),
        ("GET", "/api/v1/%zz", 404, "NotFound"),
        ("GET", f"{CMS}/%00", 404, "NotFound"),
        ("GET", f"{CMS}/{'b' * 10_000}", 404, "NotFound"),
        ("GET", f"{CMS}?labelSelector=((((", 400, "BadRequest"),
        ("GET", f"{CMS}?labelSelector={'a,' * 20_000}", 400, "BadRequest"),
        ("GET", f"{CMS}?fieldSelector=a%3Db,,%3D", 400, "BadRequest"),
        ("GET", f"{CMS}?limit=abc", 400, "BadRequest"),
        ("GET", f"{CMS}?limit=99999999999999999999", 400, "BadRequest"),
        ("GET", f"{CMS}?continue=%00", 400, "BadRequest"),
        ("GET", f"{CMS}?resourceVersion=x", 422, "Invalid"),
        ("GET", f"{CMS}?resourceVersion=99999999999999999999999", 504, "Timeout"),
        ("GET", f"{CMS}?watch=1&timeoutSeconds=abc", 400, "BadRequest"),
        ("GET", f"{CMS}?watch=1&resourceVersion=-1", 422, "Invalid"),
        ("PUT", CMS, 405, "MethodNotAllowed"),
        ("PATCH", CMS, 405, "MethodNotAllowed"),
        ("POST", f"{CMS}/x", 405, "MethodNotAllowed"),
        ("OPTIONS", CMS, 405, "MethodNotAllowed"),
        ("TRACE", "/version", 405, "MethodNotAllowed"),
        ("DELETE", "/version", 405, "MethodNotAllowed"),
    ],
)
def test_what_is_not_there(server: Server, method: str, path: str, code: int, reason: str) -> None:
    found = server.ask(method, path)
    assert (found.code, found.status["reason"]) == (code, reason), found


def test_a_media_type_that_cannot_be_had(server: Server) -> None:
    found = server.ask("GET", CMS, accept="text/html")
    assert (found.code, found.status["reason"]) == (406, "NotAcceptable")
    assert server.ask("GET", CMS, accept="\xff;;q=x,application/json;q=zz").code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer " + "a" * 60_000,
        "Bearer \xff\xfe",
        "Bearer a.b.c",
        "Bearer e30.e30.",
        "Bearer " + "." * 1000,
        "bearer x",
    ],
)
def test_tokens_that_are_none(server: Server, authorization: str) -> None:
    found = server.ask("GET", CMS, context=server.context(), authorization=authorization)
    assert (found.code, found.status["reason"], found.status["message"]) == (401, "Unauthorized", "Unauthorized")


def _certificate(server: Server, authority: pki.KeyPair, **changes: Any) -> tuple[bytes, bytes]:
    """A client's certificate and key (PEM): an administrator's, but for what is changed."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")]
    names += [x509.NameAttribute(NameOID.COMMON_NAME, "admin")] if changes.get("named", True) else []
    issuer = x509.load_pem_x509_certificate(authority.cert)
    builder = x509.CertificateBuilder().subject_name(x509.Name(names)).issuer_name(issuer.subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(changes.get("begins", now - day)).not_valid_after(changes.get("ends", now + day))
    usage = changes.get("usage", ExtendedKeyUsageOID.CLIENT_AUTH)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signing = serialization.load_pem_private_key(authority.key, None)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    certificate = builder.sign(signing, hashes.SHA256())  # type: ignore[arg-type]
    return certificate.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    "changes, code",
    [
        ({}, 200),
        ({"begins": NOW - 9 * HOUR, "ends": NOW - HOUR}, 401),
        ({"begins": NOW + 9 * HOUR, "ends": NOW + 99 * HOUR}, 401),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, 401),
        ({"named": False}, 401),
    ],
)
def test_certificates_that_are_not_good(server: Server, changes: dict[str, Any], code: int) -> None:
    context = server.context(_certificate(server, server.pki.ca, **changes))
    assert server.ask("GET", CMS, context=context).code == code
    if code == 401:
        assert server.ask("GET", CMS, context=context).status["message"] == "Unauthorized"
        assert server.ask("GET", "/version", context=context).code == 401, "bad credentials are nobody's"


def test_certificates_of_somebody_else(server: Server, tmp_path: Path) -> None:
    other = pki.ensure_pki(tmp_path)
    for authority in (other.ca, pki.KeyPair(server.pki.ca.cert, other.ca.key)):
        found = server.ask("GET", CMS, context=server.context(_certificate(server, authority)))
        assert (found.code, found.status["reason"]) == (401, "Unauthorized")


def test_the_token_of_an_account_that_is_gone(server: Server) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    assert server.ask("POST", accounts, {"metadata": {"name": "robot"}}).code == 201
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    made = json.loads(server.ask("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 600}}).body)
    bearer = f"Bearer {made['status']['token']}"
    assert server.ask("POST", review, {}, context=server.context(), authorization=bearer).code == 201
    assert server.ask("DELETE", f"{accounts}/robot").code == 200
    assert server.ask("POST", review, {}, context=server.context(), authorization=bearer).code == 401
    assert server.ask("POST", accounts, {"metadata": {"name": "robot"}}).code == 201
    again = server.ask("POST", review, {}, context=server.context(), authorization=bearer)
    assert again.code == 401, "an account of the same name is another one"
    assert server.ask("DELETE", f"{accounts}/robot").code == 200
