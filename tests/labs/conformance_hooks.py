"""agnhost's webhook servers in a lab, as upstream's tests deploy them: a TLS Secret, a Deployment, a Service.

One server serves every test of a module: what it answers depends on the path alone. Configurations of webhooks are
scoped to the namespace of their test by its label, as upstream's are.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.labs.conformance_tools import refused
from tests.labs.sig_network_tools import AGNHOST, Api, ApiError, Obj, Space

PORT, CONTAINER_PORT = 8443, 8444
HOOKS = "/apis/admissionregistration.k8s.io/v1"


def certificates(name: str) -> tuple[str, str, str]:
    """A signing certificate, and a certificate and key by it for that DNS name, all PEM."""
    now = datetime.datetime.now(datetime.UTC)

    def make(subject: str, key: Any, issuer: str, signer: Any, authority: bool) -> Any:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one[:64])]) for one in (subject, issuer)]
        built = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(now - datetime.timedelta(hours=1))
        built = built.not_valid_after(now + datetime.timedelta(days=1))
        built = built.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if not authority:
            built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        return built.sign(signer, hashes.SHA256())

    root, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    authority = make("e2e-server-cert-ca", root, "e2e-server-cert-ca", root, True).public_bytes(pem).decode()
    cert = make(name, own, "e2e-server-cert-ca", root, False).public_bytes(pem).decode()
    plain = serialization.NoEncryption()
    key = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    return authority, cert, key


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass
class HookServer:
    """Where the server is, for clientConfig."""

    namespace: str
    service: str
    bundle: str

    def client(self, path: str, *, trusted: bool = True) -> Obj:
        where = {"namespace": self.namespace, "name": self.service, "path": path, "port": PORT}
        return {"service": where, **({"caBundle": self.bundle} if trusted else {})}


def deploy(ns: Space, command: str, service: str) -> HookServer:
    """The server of that agnhost sub-command, with its Service and one endpoint."""
    authority, cert, key = certificates(f"{service}.{ns.name}.svc")
    data = {"tls.crt": encoded(cert), "tls.key": encoded(key)}
    ns.create("secrets", {"metadata": {"name": f"{service}-secret"}, "type": "Opaque", "data": data})
    container = {
        "name": service,
        "image": AGNHOST,
        "args": [command, "--tls-cert-file=/webhook.local.config/certificates/tls.crt",
                 "--tls-private-key-file=/webhook.local.config/certificates/tls.key",
                 "--alsologtostderr", "-v=4", f"--port={CONTAINER_PORT}"],
        "volumeMounts": [{"name": "certs", "readOnly": True, "mountPath": "/webhook.local.config/certificates"}],
        "readinessProbe": {"httpGet": {"scheme": "HTTPS", "port": CONTAINER_PORT, "path": "/readyz"},
                           "periodSeconds": 1, "successThreshold": 1, "failureThreshold": 30},
        "ports": [{"containerPort": CONTAINER_PORT}],
    }  # fmt: skip
    labels = {"app": command, "webhook": "true"}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container],
           "volumes": [{"name": "certs", "secret": {"secretName": f"{service}-secret"}}]}  # fmt: skip
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "strategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": labels}, "spec": pod}}  # fmt: skip
    ns.create("deployments", {"metadata": {"name": service}, "spec": spec}, "apis/apps/v1")
    where = ns.path("deployments", service, "apis/apps/v1")
    ns.wait(f"{service} available", lambda: ns.api.get(where).get("status", {}).get("availableReplicas") == 1)
    ns.service(service, [{"protocol": "TCP", "port": PORT, "targetPort": CONTAINER_PORT}], {"webhook": "true"})
    ns.wait(f"endpoint of {service}", lambda: len(ns.endpoints(service)) == 1)
    return HookServer(ns.name, service, encoded(authority))


def rule(*resources: str, operations: tuple[str, ...] = ("CREATE",), group: str = "", versions: Any = ("v1",)) -> Obj:
    return {"operations": list(operations), "apiGroups": [group], "apiVersions": list(versions),
            "resources": list(resources)}  # fmt: skip


def hook(name: str, client: Obj, *rules: Obj, scope: str, **more: Any) -> Obj:
    """A webhook for objects in namespaces that are labelled `scope`=true."""
    return {
        "name": f"{name}.k8s.io", "rules": list(rules), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"], "namespaceSelector": {"matchLabels": {scope: "true"}}, **more,
    }  # fmt: skip


class Hooks:
    """The configurations of one test: made, waited for by marker requests, deleted afterwards."""

    def __init__(self, ns: Space, server: HookServer) -> None:
        self.ns, self.api, self.server = ns, ns.api, server
        self.scope, self.markers = ns.name, f"{ns.name}-markers"
        self.made: list[str] = []

    def start(self) -> None:
        self.api.merge(f"/api/v1/namespaces/{self.ns.name}", {"metadata": {"labels": {self.scope: "true"}}})
        markers = {"metadata": {"name": self.markers, "labels": {self.markers: "true"}}}
        self.api.call("POST", "/api/v1/namespaces", markers)

    def stop(self) -> None:
        for path in self.made:
            try:
                self.api.call("DELETE", path)
            except ApiError as problem:
                assert problem.code == 404, problem
        self.api.call("DELETE", f"/api/v1/namespaces/{self.markers}")

    def hook(self, name: str, path: str, *rules: Obj, **more: Any) -> Obj:
        return hook(name, self.server.client(path), *rules, scope=self.scope, **more)

    def marker(self) -> Obj:
        """Denies every ConfigMap in the namespace of markers; calls that fail are ignored."""
        return {
            **hook("is-webhook-configuration-ready", self.server.client("/always-deny"), rule("configmaps"),
                   scope=self.markers),
            "failurePolicy": "Ignore", "objectSelector": {"matchLabels": {self.scope: "true"}},
        }  # fmt: skip

    def register(self, kind: str, *hooks: Obj, name: str = "", labels: Obj | None = None, wait: bool = True) -> str:
        """`kind`: "validating" or "mutating". The path of the configuration, which is in force."""
        collection = f"{HOOKS}/{kind}webhookconfigurations"
        name = name or self.scope
        body = {"metadata": {"name": name, "labels": labels or {}}, "webhooks": [*hooks, self.marker()]}
        self.api.call("POST", collection, body)
        self.made.append(f"{collection}/{name}")
        if wait:
            self.wait()
        return f"{collection}/{name}"

    def wait(self) -> None:
        self.ns.wait("the webhook configuration is in force", self._denied)

    def _denied(self) -> bool:
        body = {"metadata": {"generateName": "marker-", "labels": {self.scope: "true"}}}
        try:
            self.api.call("POST", f"/api/v1/namespaces/{self.markers}/configmaps", body)
        except ApiError as problem:
            assert "denied" in str(problem), problem
            return True
        return False


@contextmanager
def hooks_of(ns: Space, server: HookServer) -> Iterator[Hooks]:
    hooks = Hooks(ns, server)
    hooks.start()
    try:
        yield hooks
    finally:
        hooks.stop()


def config_map(ns: Space, name: str = "", namespace: str = "", **data: str) -> Obj:
    """A ConfigMap is created; keys with "_" for "-"."""
    meta = {"name": name} if name else {"generateName": "cm-"}
    path = f"/api/v1/namespaces/{namespace or ns.name}/configmaps"
    return ns.api.call("POST", path, {"metadata": meta, "data": {k.replace("_", "-"): v for k, v in data.items()}})


def denied(ns: Space) -> bool:
    """Whether a ConfigMap that breaks the rule is refused as a webhook refuses it."""
    try:
        config_map(ns, webhook_e2e_test="webhook-disallow")
    except ApiError as problem:
        assert "denied" in str(problem), problem
        return True
    return False


def mutated(ns: Space) -> bool:
    return "mutation-stage-1" in config_map(ns, mutation_start="yes")["data"]


def refusal(api: Api, code: int, method: str, path: str, body: Obj | None, *texts: str, kind: str = "") -> None:
    """The request is refused, with all of these texts in the message."""
    message = refused(code, lambda: api.call(method, path, body, kind or "application/json"))
    for text in texts:
        assert text in message, message
