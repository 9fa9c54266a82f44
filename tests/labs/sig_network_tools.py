"""What the tests of sig-network's conformance names share: the API over HTTPS, pods as upstream's framework makes them.

Images and arguments are those of upstream's test/e2e (1.33): agnhost's netexec, porter, serve-hostname and pause.
"""

from __future__ import annotations

import base64
import itertools
import json
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.labs.tools import User, until

Obj = dict[str, Any]
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
JESSIE = "registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7"
LAB = "course"
PATIENCE = 90.0
_numbers = itertools.count(1)


class ApiError(Exception):
    """An answer of 400 and more."""

    def __init__(self, code: int, status: Obj) -> None:
        self.code, self.status = code, status
        super().__init__(f"{code}: {status.get('message')}")


class Api:
    """Requests with the lab's kubeconfig."""

    def __init__(self, user: User, lab: str = LAB) -> None:
        config = yaml.safe_load((user.home / "state" / "netlab" / lab / "kubeconfig").read_text())
        cluster, who = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        self.context = ssl.create_default_context(cadata=_decoded(cluster, "certificate-authority"))
        with tempfile.TemporaryDirectory() as place:
            cert = Path(place) / "cert"
            cert.write_text(_decoded(who, "client-certificate") + _decoded(who, "client-key"))
            self.context.load_cert_chain(cert)

    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
        timeout: float = 60,
        accept: str = "application/json",
    ) -> Any:
        """The response; ApiError for one of 400 and more."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": kind, "Accept": accept}
        request = urllib.request.Request(self.server + path, data, headers, method=method)
        try:
            return urllib.request.urlopen(request, timeout=timeout, context=self.context)
        except urllib.error.HTTPError as problem:
            text = problem.read()
            try:
                status = json.loads(text)
            except ValueError:
                status = {"message": text.decode(errors="replace")}
            raise ApiError(problem.code, status) from None

    def text(self, path: str, method: str = "GET") -> str:
        with self.open(method, path) as answer:
            return str(answer.read().decode())

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Obj:
        with self.open(method, path, body, kind) as answer:
            found: Obj = json.loads(answer.read())
            return found

    def get(self, path: str) -> Obj:
        return self.call("GET", path)

    def gone(self, path: str) -> bool:
        try:
            self.get(path)
        except ApiError as problem:
            return problem.code == 404
        return False

    def merge(self, path: str, body: Obj) -> Obj:
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def update(self, path: str, change: Callable[[Obj], object]) -> Obj:
        """Read, change, write; again where someone was faster."""
        while True:
            obj = self.get(path)
            change(obj)
            try:
                return self.call("PUT", path, obj)
            except ApiError as problem:
                if problem.code != 409:
                    raise


def _decoded(where: Obj, name: str) -> str:
    if f"{name}-data" in where:
        return base64.b64decode(where[f"{name}-data"]).decode()
    return Path(where[name]).read_text()


@dataclass
class Space:
    """A namespace of a test's own, and the verbs that upstream's tests have for it."""

    user: User
    api: Api
    name: str
    pods: list[str] = field(default_factory=list)

    def path(self, kind: str, name: str = "", group: str = "api/v1") -> str:
        return f"/{group}/namespaces/{self.name}/{kind}" + (f"/{name}" if name else "")

    def create(self, kind: str, obj: Obj, group: str = "api/v1") -> Obj:
        return self.api.call("POST", self.path(kind, group=group), obj)

    def delete(self, kind: str, name: str, group: str = "api/v1") -> None:
        self.api.call("DELETE", self.path(kind, name, group), {"gracePeriodSeconds": 0} if kind == "pods" else None)

    # -- pods

    def pod(
        self,
        name: str,
        *arguments: str,
        labels: Obj | None = None,
        ports: Sequence[Obj] = (),
        node: str = "",
        image: str = AGNHOST,
        probe: bool = False,
        wait: bool = True,
        **spec: Any,
    ) -> Obj:
        container: Obj = {"name": "agnhost-container", "image": image, "args": list(arguments), "ports": list(ports)}
        env = spec.pop("env", [])
        if env:
            container["env"] = env
        if probe:
            container["readinessProbe"] = {
                "httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30,
            }  # fmt: skip
        full: Obj = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
        if node:
            full["nodeName"] = node
        self.create("pods", {"metadata": {"name": name, "labels": labels or {}}, "spec": full})
        return self.ready(name) if wait else {}

    def ready(self, name: str) -> Obj:
        self.wait(f"pod {name} ready", lambda: _is_ready(self.api.get(self.path("pods", name))))
        return self.api.get(self.path("pods", name))

    def exec_pod(self, name: str = "", node: str = "") -> str:
        """A pod to run commands in, and to dial from."""
        name = name or f"execpod{next(_numbers)}"
        self.pod(name, "netexec", node=node)
        return name

    def sh(self, pod: str, command: str, timeout: float = 60) -> str:
        """What the command says, "" where it fails."""
        done = kubectl(
            self.user, "exec", f"--namespace={self.name}", pod, "--", "/bin/sh", "-c", command, timeout=timeout
        )
        return done.stdout if done.returncode == 0 else ""

    def wait(self, what: str, holds: Callable[[], object]) -> None:
        until(what, lambda: bool(holds()), PATIENCE, lambda: self.picture())

    def picture(self) -> str:
        found = kubectl(self.user, "get", "pods,services,endpoints,endpointslices", "-o", "wide", "-n", self.name)
        return str(found.stdout)

    # -- services

    def service(self, name: str, ports: Sequence[Obj], selector: Obj | None = None, **spec: Any) -> Obj:
        full = {"ports": list(ports), **({"selector": selector} if selector is not None else {}), **spec}
        return self.create("services", {"metadata": {"name": name}, "spec": full})

    def change_service(self, name: str, **spec: Any) -> Obj:
        """None takes a field away."""

        def change(obj: Obj) -> None:
            for key, value in spec.items():
                if value is None:
                    obj["spec"].pop(key, None)
                else:
                    obj["spec"][key] = value

        return self.api.update(self.path("services", name), change)

    def endpoints(self, name: str) -> dict[str, set[int]]:
        """Pod names (or addresses) → ports, as the Endpoints object has them; the EndpointSlices must say the same."""
        try:
            found = _of_endpoints(self.api.get(self.path("endpoints", name)))
        except ApiError as problem:
            if problem.code != 404:
                raise
            return {"no Endpoints": set()}
        query = f"?labelSelector=kubernetes.io/service-name%3D{name}"
        slices = self.api.get(self.path("endpointslices", group="apis/discovery.k8s.io/v1") + query)
        return found if found == _of_slices(slices) else {"Endpoints and EndpointSlices differ": set()}

    def wait_endpoints(self, name: str, wanted: dict[str, set[int]]) -> None:
        self.wait(f"endpoints of {name} are {wanted}", lambda: self.endpoints(name) == wanted)

    def reaches(self, pod: str, address: str, port: int, protocol: str = "tcp") -> bool:
        """Whether agnhost's netexec there answers a pod (which runs netexec itself, for its /dial)."""
        return bool(self.dial(pod, address, port, "udp" if protocol == "udp" else "http"))

    def dial(
        self, pod: str, address: str, port: int, protocol: str, tries: int = 1, word: str = "hostname"
    ) -> set[str]:
        """The different answers to so many questions, asked by the pod as upstream's DialFromContainer does."""
        query = f"host={address}&port={port}&protocol={protocol}&request={word}&tries={tries}"
        said = self.api.text(self.path("pods", f"{pod}:8080") + f"/proxy/dial?{query}")
        return set(json.loads(said).get("responses") or ())

    def backends(self, pod: str, url: str, times: int) -> list[str]:
        """Who answers so many HTTP requests, "" for none."""
        command = f"for i in $(seq 1 {times}); do echo; curl -q -s --connect-timeout 2 {url} || echo; done"
        return [line for line in self.sh(pod, command).splitlines() if line.strip()]


def _is_ready(pod: Obj) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions") or ()
    )


def _of_endpoints(obj: Obj) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for subset in obj.get("subsets") or ():
        for address in subset.get("addresses") or ():
            name = (address.get("targetRef") or {}).get("name") or address["ip"]
            found.setdefault(name, set()).update(port["port"] for port in subset.get("ports") or ())
    return found


def _of_slices(listed: Obj) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for one in listed["items"]:
        for endpoint in one.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                for address in endpoint["addresses"]:
                    name = (endpoint.get("targetRef") or {}).get("name") or address
                    found.setdefault(name, set()).update(port["port"] for port in one.get("ports") or ())
    return found


def watch(api: Api, path: str, act: Callable[[], object], wanted: Sequence[str], timeout: float = 30) -> list[Obj]:
    """Watches `path` from now on while `act` is done: the events up to the last of `wanted` (their types, in order)."""
    version = api.get(path.partition("?")[0])["metadata"]["resourceVersion"]
    joint = "&" if "?" in path else "?"
    act()
    events: list[Obj] = []
    end = time.monotonic() + timeout
    with api.open("GET", f"{path}{joint}watch=1&resourceVersion={version}", timeout=timeout) as stream:
        while len(events) < len(wanted) and time.monotonic() < end:
            event = json.loads(stream.readline())
            if event["type"] != "BOOKMARK":
                events.append(event)
    assert [event["type"] for event in events] == list(wanted), events
    return events


def kubectl(user: User, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    config = user.home / "state" / "netlab" / LAB / "kubeconfig"
    return user.run("kubectl", f"--kubeconfig={config}", *arguments, timeout=timeout)
