"""An API server in a process of its own, and connections that may say anything to it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from netlab.apiserver import pki

CMS = "/api/v1/namespaces/default/configmaps"


class Answer(NamedTuple):
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> Any:
        """The Status that every refusal is."""
        found = json.loads(self.body)
        assert found["kind"] == "Status" and found["apiVersion"] == "v1", found
        assert found["status"] == "Failure" and found["code"] == self.code, found
        assert found["message"] and found["reason"] is not None, found
        return found


class Server:
    """`python -m netlab.apiserver` on a free port of loopback; `state` holds its store, keys and log."""

    def __init__(self, state: Path, *arguments: str) -> None:
        self.state, self.arguments = state, arguments
        self.log = state / "log"
        self._heard = 0

    def __enter__(self) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "netlab.apiserver", "--state", str(self.state), "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, *self.arguments], stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        said = self.process.stdout.readline().decode().strip()
        assert said.endswith("kubeconfig"), self.log.read_text()
        self.kubeconfig = json.loads(Path(said).read_text())
        self.pki = pki.ensure_pki(self.state / "pki")
        user = self.kubeconfig["users"][0]["user"]
        pair = b64decode(user["client-certificate-data"]), b64decode(user["client-key-data"])
        self.admin = self.context(pair)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)

    def context(self, pair: tuple[bytes, bytes] | None = None) -> ssl.SSLContext:
        """A client that trusts the server; `pair` is its certificate and key (PEM)."""
        context = ssl.create_default_context(cadata=self.pki.ca.cert.decode())
        if pair is not None:
            path = self.state / "client.pem"
            path.write_bytes(pair[0] + pair[1])
            context.load_cert_chain(path)
        return context

    def connect(self, context: ssl.SSLContext | None = None, timeout: float = 60) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        try:
            return (context or self.admin).wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def raw(self, data: bytes, *, end: bool = False, context: ssl.SSLContext | None = None) -> bytes:
        """Everything that the server says to these bytes until it closes; `end` closes our sending half first."""
        with self.connect(context) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
                if end:
                    socket.socket.shutdown(connection, socket.SHUT_WR)
            said = b""
            with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                while part := connection.recv(65536):
                    said += part
            return said

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Any = None,
        *,
        context: ssl.SSLContext | None = None,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named.setdefault("content-type", "application/json")
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in named.items()]
        return parse(self.raw("\r\n".join([*lines, "", ""]).encode() + data, context=context))

    def memory(self) -> int:
        """The process's own memory (PSS), bytes."""
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(), re.M)
        assert found is not None
        return int(found[1]) << 10

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def forget_log(self) -> None:
        self._heard = self.log.stat().st_size

    def unharmed(self) -> None:
        """It runs, answers, and its log has no traceback since `forget_log`."""
        assert self.process.poll() is None, self.log.read_text()
        assert self.ask("GET", "/livez/etcd").body == b"ok"
        with self.log.open("rb") as log:
            log.seek(self._heard)
            said = log.read().decode(errors="replace")
        assert "Traceback" not in said and "ERROR" not in said, said

    def until(self, what: str, holds: Any, timeout: float = 60) -> None:
        end = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < end, f"{what}: not within {timeout:.0f} s"
            time.sleep(0.05)


def parse(said: bytes) -> Answer:
    """An answer from its bytes."""
    head, found, body = said.partition(b"\r\n\r\n")
    assert found, f"no answer, but {said[:200]!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def _joined(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
        if not length:
            break
    return whole
