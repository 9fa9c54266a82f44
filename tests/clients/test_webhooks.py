"""Admission and conversion webhooks that run as pods behind a Service, as their authors deploy them.

The API server reaches the Service's cluster IP from the control-plane node, by kube-proxy's rules there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.rest import ApiException

from netlab.apiserver.pki import ensure_pki, ensure_server
from tests.clients.objects import config_map
from tests.labs.tools import until

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::ResourceWarning")]

SERVER = r"""
import base64, http.server, json, ssl

class Hook(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"ok")

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        response = {"uid": request["uid"]}
        if review["kind"] == "ConversionReview":
            objects = [{**one, "apiVersion": request["desiredAPIVersion"]} for one in request["objects"]]
            for one in objects:
                one["seen"] = "yes"
            response |= {"result": {"status": "Success"}, "convertedObjects": objects}
        elif self.path.startswith("/mutate"):
            patch = [{"op": "add", "path": "/data/mutated", "value": "yes"}]
            encoded = base64.b64encode(json.dumps(patch).encode()).decode()
            response |= {"allowed": True, "patchType": "JSONPatch", "patch": encoded}
        else:
            unwanted = (request["object"].get("data") or {}).get("unwanted")
            response |= {"allowed": not unwanted, "status": {"message": "unwanted data"}}
        told = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        self.answer(json.dumps(told).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("", 8443), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/hook/tls.crt", "/hook/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture
def hook(core: client.CoreV1Api, namespace: str, tmp_path: Path) -> str:
    """The webhook's CA bundle (base64), once it is ready behind Service `hook`."""
    pki = ensure_pki(tmp_path)
    pair = ensure_server(pki, "hook", "hook", [f"hook.{namespace}.svc"])
    assert pair
    data = {
        "server.py": SERVER,
        "tls.crt": (tmp_path / "hook.crt").read_text(),
        "tls.key": (tmp_path / "hook.key").read_text(),
    }
    core.create_namespaced_secret(namespace, {"metadata": {"name": "hook"}, "stringData": data})
    container: dict[str, Any] = {
        "name": "hook",
        "image": "nicolaka/netshoot",
        "command": ["python3", "/hook/server.py"],
        "volumeMounts": [{"name": "hook", "mountPath": "/hook"}],
        "readinessProbe": {"httpGet": {"port": 8443, "path": "/", "scheme": "HTTPS"}, "periodSeconds": 1},
    }
    volumes = [{"name": "hook", "secret": {"secretName": "hook"}}]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0}
    pod = {"metadata": {"name": "hook", "labels": {"app": "hook"}}, "spec": spec}
    core.create_namespaced_pod(namespace, pod)
    ports = [{"port": 443, "targetPort": 8443}]
    service = {"metadata": {"name": "hook"}, "spec": {"selector": {"app": "hook"}, "ports": ports}}
    core.create_namespaced_service(namespace, service)

    def ready() -> bool:
        found = core.read_namespaced_pod_status("hook", namespace).status
        return any(one.type == "Ready" and one.status == "True" for one in found.conditions or [])

    until("the webhook is Ready", ready, 90, lambda: str(core.read_namespaced_pod("hook", namespace)))
    return base64.b64encode((tmp_path / "ca.crt").read_bytes()).decode()


@pytest.fixture
def admission(official: client.ApiClient, namespace: str) -> Iterator[client.AdmissionregistrationV1Api]:
    api = client.AdmissionregistrationV1Api(official)
    yield api
    api.delete_collection_mutating_webhook_configuration(label_selector=f"of={namespace}")
    api.delete_collection_validating_webhook_configuration(label_selector=f"of={namespace}")


def configuration(namespace: str, bundle: str, path: str) -> dict[str, Any]:
    service = {"namespace": namespace, "name": "hook", "path": path}
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    one = {
        "name": "hook.example.com",
        "clientConfig": {"service": service, "caBundle": bundle},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 30,
    }
    return {"metadata": {"name": f"{namespace}{path[1:]}", "labels": {"of": namespace}}, "webhooks": [one]}


def test_a_webhook_behind_a_service(
    core: client.CoreV1Api, admission: client.AdmissionregistrationV1Api, namespace: str, hook: str
) -> None:
    def served() -> bool:
        # the Service's rules reach the control-plane node a moment after its endpoints are there
        try:
            made = core.create_namespaced_config_map(namespace, config_map("probe", a="b"), dry_run="All")
        except ApiException as error:
            assert "failed calling webhook" in error.body
            return False
        return dict(made.data) == {"a": "b", "mutated": "yes"}

    admission.create_mutating_webhook_configuration(configuration(namespace, hook, "/mutate"))
    until("the mutating webhook acts", served)
    admission.create_validating_webhook_configuration(configuration(namespace, hook, "/validate"))
    made = core.create_namespaced_config_map(namespace, config_map("wanted", a="b"))
    assert made.data == {"a": "b", "mutated": "yes"}
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_config_map(namespace, config_map("unwanted", unwanted="yes"))
    assert refused.value.status == 400
    assert 'admission webhook \\"hook.example.com\\" denied the request: unwanted data' in refused.value.body


def test_a_conversion_webhook_behind_a_service(official: client.ApiClient, namespace: str, hook: str) -> None:
    group = f"{namespace}.example.com"
    free = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": name, "served": True, "storage": name == "v1", "schema": free} for name in ("v1", "v2")]
    service = {"namespace": namespace, "name": "hook", "path": "/convert"}
    webhook = {"clientConfig": {"service": service, "caBundle": hook}, "conversionReviewVersions": ["v1"]}
    spec = {
        "group": group,
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": versions,
        "conversion": {"strategy": "Webhook", "webhook": webhook},
    }
    definitions = client.ApiextensionsV1Api(official)
    definitions.create_custom_resource_definition({"metadata": {"name": f"things.{group}"}, "spec": spec})
    try:
        things = client.CustomObjectsApi(official)
        body = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a"}}
        things.create_namespaced_custom_object(group, "v1", namespace, "things", body)
        shown: dict[str, Any] = {}

        def served() -> bool:
            try:
                shown.update(things.get_namespaced_custom_object(group, "v2", namespace, "things", "a"))
            except ApiException as error:
                assert "conversion webhook for" in error.body
                return False
            return True

        until("the conversion webhook answers", served)
        assert (shown["apiVersion"], shown["seen"]) == (f"{group}/v2", "yes")
    finally:
        definitions.delete_custom_resource_definition(f"things.{group}")
