"""agnhost's builtin sub-commands that decide something: webhooks, conversions, tokens, file modes."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from netlab.runtime.builtin import auditproxy, consumer, crdconvert, httpd, mounttest, nettest, nosnat, openid, webhook
from netlab.runtime.builtin.web import Request

Obj = dict[str, Any]
JSON = {"content-type": "application/json"}


def _review(path: str, resource: str, obj: Obj, operation: str = "CREATE", **more: Any) -> Obj:
    asked = {"uid": "u", "resource": {"group": "", "version": "v1", "resource": resource}, "object": obj, **more}
    body = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {"operation": operation, **asked}}  # fmt: skip
    answer = webhook.answer(Request("POST", path, "HTTP/1.1", JSON, json.dumps(body).encode()))
    assert answer.status == 200
    said: Obj = json.loads(answer.body)["response"]
    assert said["uid"] == "u"
    return said


POD: Obj = {"metadata": {"name": "webhook-to-be-mutated"}, "spec": {"containers": [{"name": "a"}]}}
PATCHES: list[tuple[str, str, Obj, list[Obj]]] = [
    ("/add-label", "pods", {"metadata": {}},
     [{"op": "add", "path": "/metadata/labels", "value": {"added-label": "yes"}}]),
    ("/add-label", "pods", {"metadata": {"labels": {"added-label": "no"}}},
     [{"op": "replace", "path": "/metadata/labels/added-label", "value": "yes"}]),
    ("/add-label", "pods", {"metadata": {"labels": {"added-label": "yes"}}}, []),
    ("/mutating-configmaps", "configmaps", {"data": {"mutation-start": "yes"}},
     [{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}]),
    ("/mutating-configmaps", "configmaps", {"data": {"mutation-start": "yes", "mutation-stage-1": "yes"}},
     [{"op": "add", "path": "/data/mutation-stage-2", "value": "yes"}]),
    ("/mutating-custom-resource", "things", {"data": {}}, []),
    ("/mutating-pods", "pods", POD, [{"op": "add", "path": "/spec/initContainers", "value": [
        {"image": "webhook-added-image", "name": "webhook-added-init-container", "resources": {}}]}]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "resource", "obj", "wanted"), PATCHES)
def test_mutating_rules(path: str, resource: str, obj: Obj, wanted: list[Obj]) -> None:
    said = _review(path, resource, obj)
    assert said["allowed"]
    assert (json.loads(base64.b64decode(said["patch"])) if "patch" in said else []) == wanted


UNWANTED = {"data": {"webhook-e2e-test": "webhook-disallow"}}
REFUSALS: list[tuple[str, str, Obj, Obj]] = [
    ("/always-deny", "pods", {}, {"message": "this webhook denies all requests"}),
    ("/pods", "pods", {"metadata": {"labels": {"webhook-e2e-test": "webhook-disallow"}},
                       "spec": {"containers": [{"name": "webhook-disallow"}]}},
     {"message": "the pod contains unwanted label; the pod contains unwanted container name;"}),
    ("/configmaps", "configmaps", UNWANTED, {"reason": "the configmap contains unwanted key and value"}),
    ("/custom-resource", "things", UNWANTED, {"reason": "the custom resource contains unwanted data"}),
    ("/configmaps", "pods", {}, {"message": "expect resource to be { v1 configmaps}"}),
    ("/mutating-pods-sidecar", "pods", POD,
     {"status": "Failure", "code": 500, "message": "No image specified by the sidecar-image parameter"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "resource", "obj", "wanted"), REFUSALS)
def test_refusing_rules(path: str, resource: str, obj: Obj, wanted: Obj) -> None:
    said = _review(path, resource, obj)
    assert (said["allowed"], said["status"]) == (False, {"metadata": {}, **wanted})


def test_deletion_is_judged_by_the_old_object() -> None:
    old = {"data": {"webhook-e2e-test": "webhook-nondeletable"}}
    said = _review("/configmaps", "configmaps", {}, "DELETE", oldObject=old)
    assert said["status"]["reason"] == "the configmap cannot be deleted because it contains unwanted key and value"


@pytest.mark.parametrize(
    ("obj", "version", "wanted"),
    [
        ({"apiVersion": crdconvert.V1, "hostPort": "h:1"}, crdconvert.V2, {"host": "h", "port": "1"}),
        ({"apiVersion": crdconvert.V2, "host": "h", "port": "1"}, crdconvert.V1, {"hostPort": "h:1"}),
        ({"apiVersion": crdconvert.V2, "host": "h"}, crdconvert.V1, {"hostPort": "h:"}),
        ({"apiVersion": crdconvert.V2}, crdconvert.V1, {}),
    ],
)
def test_conversion(obj: Obj, version: str, wanted: Obj) -> None:
    said = crdconvert.respond({"uid": "u", "desiredAPIVersion": version, "objects": [obj]})
    assert said["convertedObjects"] == [{"apiVersion": version, **wanted}]
    assert said["result"]["status"] == "Success"


def test_conversion_refused() -> None:
    obj = {"apiVersion": crdconvert.V1, "hostPort": "no port"}
    said = crdconvert.respond({"uid": "u", "desiredAPIVersion": crdconvert.V2, "objects": [obj]})
    assert said["result"]["message"] == "invalid hostPort value `no port`"


EC, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
KEYS: dict[str, tuple[Any, Obj]] = {
    "ES256": (EC, json.loads(ECAlgorithm.to_jwk(EC.public_key()))),
    "RS256": (RSA, json.loads(RSAAlgorithm.to_jwk(RSA.public_key()))),
}


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_token(algorithm: str) -> None:
    private, public = KEYS[algorithm]
    now = time.time()
    token = jwt.encode({"iss": "i", "aud": ["a", "b"], "exp": now + 60}, private, algorithm=algorithm)
    assert openid.verify(token, "i", "b", [public], now)["aud"] == ["a", "b"]
    wrong = {"other issuer": (token, "j", "b", now), "other audience": (token, "i", "c", now),
             "too late": (token, "i", "b", now + 61), "forged": (_forged(token), "i", "b", now)}  # fmt: skip
    for text, issuer, audience, when in wrong.values():
        with pytest.raises(openid.Invalid):
            openid.verify(text, issuer, audience, [public], when)


def _forged(token: str) -> str:
    head, body, signature = token.split(".")
    claims = {**json.loads(openid.decode(body)), "sub": "someone else"}
    return ".".join([head, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature])


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [(0o100644, "-rw-r--r--"), (0o041777, "dtrwxrwxrwx"), (0o042755, "dgrwxr-xr-x"), (0o120777, "Lrwxrwxrwx")],
)
def test_modes_as_go_prints_them(mode: int, wanted: str) -> None:
    assert mounttest.mode_text(mode) == wanted


AGNHOST = (sys.executable, "-m", "netlab.runtime.builtin.agnhost")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _connected(port: int) -> socket.socket:
    for _attempt in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), 5)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError(f"nobody listens on port {port}")


def _asked(port: int, path: str) -> bytes:
    with _connected(port) as sock:
        sock.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        return sock.recv(12)[-3:]


def test_a_terminating_netexec_serves_on_and_is_not_ready() -> None:
    port = _free_port()
    command = [*AGNHOST, "netexec", f"--http-port={port}", "--udp-port=-1", "--delay-shutdown=2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert [_asked(port, path) for path in ("/readyz", "/healthz", "/hostname")] == [b"200"] * 3
        with _connected(port) as sock:
            sock.sendall(b"hostName\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 400 Bad Request\r\n"), "without waiting for more"
        server.terminate()
        assert server.stderr is not None
        while "Sleeping 2 seconds before terminating..." not in server.stderr.readline():
            assert server.poll() is None
        assert [_asked(port, path) for path in ("/readyz", "/healthz", "/hostname")] == [b"503", b"200", b"200"]
        assert server.wait(20) == 0


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/", 200, httpd.WELCOME),
        ("/index.html", 200, httpd.WELCOME),
        ("//", 200, httpd.WELCOME),
        ("/../etc/hosts", 404, ""),
    ],
)
def test_httpd_welcomes(path: str, status: int, body: str) -> None:
    found = httpd.answer(Request("GET", path, "HTTP/1.1", {}, b""))
    assert (found.status, body in found.body.decode()) == (status, True)
    demo = httpd.demo(Request("GET", "/data.json", "HTTP/1.1", {}, b""))
    assert json.loads(demo.body) == {"image": "nautilus.jpg"}


def test_a_half_closed_connection() -> None:
    port = _free_port()
    options = json.dumps({"LocalAddr": f"127.0.0.1:{port}", "PostFinTimeoutSeconds": 0})
    command = [*AGNHOST, "net", "--runner", "nat-closewait-server", "--options", options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        with _connected(port) as sock:
            assert sock.recv(1) == b"", "the server's FIN"
        told, _ = server.communicate(timeout=20)
        assert told.startswith("output:\n\n# Server listening on 127.0.0.1:")
        assert "# Server sent FIN, waiting 0 seconds\n# Done\n" in told
        assert server.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Must set either --runner or --serve, see --help"),
        (("--runner", "x"), "Error: Invalid runner: 'x', see --help"),
        (("--runner", "nat-closewait-client", "--options", "{"), "Error: Invalid options JSON: "),
    ],
)
def test_wrong_runners(arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run([*AGNHOST, "net", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert said in done.stderr


# -- small servers


def test_audit_events_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    body = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{"auditID": "1"}, {"auditID": "2"}]}
    sent = Request("POST", "/", "HTTP/1.1", JSON, json.dumps(body).encode())
    assert auditproxy.answer(sent).status == 200
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(one["kind"], one["auditID"]) for one in lines] == [("Event", "1"), ("Event", "2")]
    assert auditproxy.answer(Request("POST", "/", "HTTP/1.1", JSON, b"{}")).status == 500


def test_who_was_seen() -> None:
    assert nosnat.verdict("10.0.0.1", "10.0.0.1", "192.168.0.1") == ""
    assert nosnat.verdict("192.168.0.1", "10.0.0.1", "192.168.0.1").endswith('== my Node ip "192.168.0.1" - SNAT')
    assert "unexpected ip" in nosnat.verdict("172.16.0.1", "10.0.0.1", "192.168.0.1")


def test_pods_that_write_to_each_other() -> None:
    state = nettest.State("a", 1)
    assert state.status() == "running"
    written = nettest.answer(state, Request("POST", "/write", "HTTP/1.1", JSON, b'{"Source":"b"}'))
    assert json.loads(written.body) == {"Hostname": "a"}
    state.sent["b"] = 1
    assert nettest.answer(state, Request("GET", "/status", "HTTP/1.1", {}, b"")).body == b"pass"
    shown = json.loads(nettest.answer(state, Request("GET", "/read", "HTTP/1.1", {}, b"")).body)
    assert shown["Received"] == {"b": 1} and shown["StillContactingPeers"] is True
    subset = {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}
    assert nettest.targets({"subsets": [subset]}) == ["10.0.0.1:80", "[fd00::1]:80"]


def consume(path: str, query: str = "", method: str = "POST") -> tuple[int, str]:
    found = consumer.answer(Request(method, f"{path}?{query}", "HTTP/1.1", {}, b""))
    return found.status, found.body.decode()


def test_a_consumer_does_what_it_is_told() -> None:
    assert consumer.shares(2500) == [1.0, 1.0, 0.5] and consumer.shares(0) == []
    assert consume("/ConsumeCPU", method="GET") == (400, "Bad request. Not a POST request\n")
    assert consume("/ConsumeCPU") == (400, "not given functionArgument\n")
    assert consume("/ConsumeMem", "megabytes=x&durationSec=1") == (400, "incorrect functionArgument\n")
    assert consume("/Nothing") == (404, "unknown function: /Nothing\n")
    assert consume("/BumpMetric", "metric=m&delta=2.5&durationSec=30") == (
        200, "BumpMetric\nm metric\n2.5 delta\n30 durationSec\n"
    )  # fmt: skip
    until = time.monotonic() + 5
    while "m 2.5" not in consume("/metrics")[1] and time.monotonic() < until:
        time.sleep(0.01)
    assert consume("/metrics")[1] == "# HELP m info message.\n# TYPE m gauge\nm 2.500000\n"


def test_a_connection_that_is_answered_in_chunks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"BIND_PORT": str(port), "EXPECTED_CLIENT_DATA": "abc", "CHUNKS": "3", "CHUNK_SIZE": "4",
                "CHUNK_INTERVAL": "1"}  # fmt: skip
    code = "import sys; from netlab.runtime.builtin.forwardtester import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", code], env=settings, stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 20
        while True:
            try:
                client = socket.create_connection(("localhost", port), 5)
                break
            except OSError:
                assert time.monotonic() < until, "the tester does not listen"
                time.sleep(0.05)
        with client:
            client.sendall(b"abc")
            got = b""
            while part := client.recv(100):
                got += part
        said = process.communicate(timeout=20)[0]
    assert (got, process.returncode) == (b"x" * 12, 0)
    assert said.splitlines() == [
        "Accepted client connection", "Received expected client data", "Shutting down connection", "Done"
    ]  # fmt: skip
