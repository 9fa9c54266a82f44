"""agnhost porter: serves the value of every SERVE_…PORT_<n> in the environment on port n (agnhost/porter).

SERVE_PORT_ and SERVE_TCP_PORT_ speak HTTP, SERVE_TLS_PORT_ HTTPS, SERVE_UDP_PORT_ and SERVE_SCTP_PORT_ answer whoever
asks or connects. TLS uses CERT_FILE and KEY_FILE, or a certificate for localhost that is no secret.
"""

import os
import socket

from netlab.runtime.builtin import https
from netlab.runtime.builtin.common import listen, log, parse_flags
from netlab.runtime.builtin.netexec import IPPROTO_SCTP
from netlab.runtime.builtin.web import Request, Response, Server, as_json

_HTML = ("!doctype html", "html", "head", "script", "iframe", "h1", "div", "font", "table", "a", "style", "title", "b",
         "body", "br", "p", "!--")  # fmt: skip

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBszCCAVigAwIBAgIUIHZf9vI4xCM259GqP6luRFjy8acwCgYIKoZIzj0EAwIw
FjEUMBIGA1UECgwLbmV0bGFiIHRlc3QwIBcNMjYxMTIyMTA1NzAyWhgPMjEyNjEw
MjkxMDU3MDJaMBYxFDASBgNVBAoMC25ldGxhYiB0ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEER2pSNcQmQo5nTtqTmLIrCWoMQ6ZrRJx6NSFMECk5A/6xIJN
o1ZUmcDpA6+csP9BDM1kalyS4T4DC3caAqmmqqOBgTB/MB0GA1UdDgQWBBRGP72s
Qao99fHkwfaya9vJo8FRfTAfBgNVHSMEGDAWgBRGP72sQao99fHkwfaya9vJo8FR
fTAPBgNVHRMBAf8EBTADAQH/MCwGA1UdEQQlMCOCCWxvY2FsaG9zdIcEfwAAAYcQ
AAAAAAAAAAAAAAAAAAAAATAKBggqhkjOPQQDAgNJADBGAiEAj417jw7ALu96lKe2
D3v8sbkKpoW3+X7okhLWPvIalIECIQCdMPJLzbqWqBHrHVo+MxQDsy3bEJSNgBGW
st0KVGMo4Q==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4ZelIi3yTPheXoai
uHwg3Dn6l0F8Q+hE7v5f360PUBuhRANCAAQRHalI1xCZCjmdO2pOYsisJagxDpmt
EnHo1IUwQKTkD/rEgk2jVlSZwOkDr5yw/0EMzWRqXJLhPgMLdxoCqaaq
-----END PRIVATE KEY-----
"""


def _is_html(text: str) -> bool:
    """What Go's http.DetectContentType takes for HTML."""
    start = text.lstrip("\t\n\x0c\r ").lower()
    return any(start.startswith((f"<{tag} ", f"<{tag}>")) for tag in _HTML)


def main(*arguments: str) -> int:
    flags = {"json-response": "false", **https.KLOG}
    parse_flags(arguments, flags)
    texts: dict[str, str] = {}

    def answer(request: Request) -> Response:
        text = texts[request.local.rpartition(":")[2]]
        if flags["json-response"] == "true":
            return Response(
                as_json({"Method": request.method, "Body": text}), headers={"Content-Type": "application/json"}
            )
        return Response(text, headers={"Content-Type": "text/html; charset=utf-8"} if _is_html(text) else {})

    server = Server(answer)
    for name, value in os.environ.items():
        kind, _, port = name.rpartition("_")
        if not port.isdigit():
            continue
        if kind in ("SERVE_PORT", "SERVE_TCP_PORT", "SERVE_TLS_PORT"):
            texts[port] = value
            server.add(listen(socket.SOCK_STREAM, int(port)), _tls() if kind == "SERVE_TLS_PORT" else None)
        elif kind == "SERVE_UDP_PORT":
            _serve_udp(server, int(port), value)
        elif kind == "SERVE_SCTP_PORT":
            _serve_sctp(server, int(port), value)
    server.run()
    return 0


def _tls() -> object:
    return https.context(
        os.environ.get("CERT_FILE") or https.in_memory(CERTIFICATE), os.environ.get("KEY_FILE") or https.in_memory(KEY)
    )


def _serve_udp(server: Server, port: int, text: str) -> None:
    sock = listen(socket.SOCK_DGRAM, port)

    def receive() -> None:
        _data, address = sock.recvfrom(16)
        sock.sendto(text.encode(), address)

    log(f"Started UDP server on port {port}")
    server.watch(sock, receive)


def _serve_sctp(server: Server, port: int, text: str) -> None:
    listener = listen(socket.SOCK_STREAM, port, proto=IPPROTO_SCTP)

    def accept() -> None:
        sock, _address = listener.accept()
        with sock:
            sock.sendall(text.encode())

    log("Started SCTP server")
    server.watch(listener, accept)
