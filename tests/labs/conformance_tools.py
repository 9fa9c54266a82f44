"""What the tests of conformance names share: pods that end and what they said, watches, waits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.labs.sig_network_tools import Api, ApiError, Obj, Space

BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.36.1-1"
PAUSE = "registry.k8s.io/pause:3.10"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
DONE = ("Succeeded", "Failed")


def sh(command: str, name: str = "main", **more: Any) -> Obj:
    """A container that runs a line of shell."""
    return {"name": name, "image": BUSYBOX, "command": ["sh", "-c", command], **more}


def pause(name: str = "main", **more: Any) -> Obj:
    return {"name": name, "image": PAUSE, **more}


def pod(*containers: Obj, name: str = "pod", labels: Obj | None = None, **spec: Any) -> Obj:
    """A Pod that ends at once when it is told to."""
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 0, **spec},
    }


def once(*containers: Obj, **more: Any) -> Obj:
    """A Pod that is not restarted."""
    return pod(*containers, **{"restartPolicy": "Never", **more})


def create(ns: Space, obj: Obj) -> str:
    return str(ns.create("pods", obj)["metadata"]["name"])


def finished(ns: Space, obj: Obj) -> Obj:
    """The Pod, created, when all of its containers have ended."""
    name = create(ns, obj)
    path = ns.path("pods", name)
    ns.wait(f"pod {name} ended", lambda: ns.api.get(path)["status"].get("phase") in DONE)
    return ns.api.get(path)


def log(ns: Space, name: str, container: str = "") -> str:
    return ns.api.text(ns.path("pods", f"{name}/log") + (f"?container={container}" if container else ""))


def said(ns: Space, obj: Obj, container: str = "") -> str:
    """What the Pod's container printed; it must end well."""
    found = finished(ns, obj)
    name = found["metadata"]["name"]
    text = log(ns, name, container or found["spec"]["containers"][0]["name"])
    assert found["status"]["phase"] == "Succeeded", (text, found["status"])
    return text


def status_of(obj: Obj, container: str = "") -> Obj:
    """One container's status, {} where there is none."""
    status = obj["status"]
    every = [
        *status.get("initContainerStatuses", ()),
        *status.get("containerStatuses", ()),
        *status.get("ephemeralContainerStatuses", ()),
    ]
    for one in every if container else status.get("containerStatuses", ()):
        if not container or one["name"] == container:
            return dict(one)
    return {}


def condition(obj: Obj, kind: str) -> Obj:
    for one in obj.get("status", {}).get("conditions") or ():
        if one["type"] == kind:
            return dict(one)
    return {}


def owners(obj: Obj) -> set[tuple[str, str]]:
    return {(one["kind"], one["name"]) for one in obj["metadata"].get("ownerReferences") or ()}


def refused(code: int, act: Callable[[], object]) -> str:
    """The message of the refusal."""
    try:
        act()
    except ApiError as problem:
        assert problem.code == code, problem
        return str(problem.status.get("message"))
    raise AssertionError(f"not refused with {code}")


def items(api: Api, path: str) -> list[Obj]:
    return list(api.get(path)["items"])


def names(api: Api, path: str) -> set[str]:
    return {one["metadata"]["name"] for one in items(api, path)}


def emptied(ns: Space, path: str, what: str) -> None:
    ns.wait(f"no {what}", lambda: not items(ns.api, path))


def cleared(ns: Space, path: str) -> None:
    """Delete one object, wait until it is gone."""
    ns.api.call("DELETE", path)
    ns.wait(f"{path} gone", lambda: ns.api.gone(path))


class Watch:
    """A watch that is read beside the test, from the resource version of the collection now."""

    def __init__(self, api: Api, path: str, version: str = "") -> None:
        joint = "&" if "?" in path else "?"
        version = version or api.get(path)["metadata"]["resourceVersion"]
        self.events: list[Obj] = []
        self._stream = api.open("GET", f"{path}{joint}watch=1&timeoutSeconds=60&resourceVersion={version}", timeout=90)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self.events.append(json.loads(line))

    def sees(self, kind: str, fits: Callable[[Obj], object] = lambda obj: True, timeout: float = 60.0) -> Obj:
        """The first event of that type whose object fits; what was before it is left behind."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            while self.events:
                event = self.events.pop(0)
                if event["type"] == kind and fits(event["object"]):
                    return dict(event["object"])
            time.sleep(0.02)
        raise AssertionError(f"no event {kind} that fits within {timeout:.0f} s")


def annotated(key: str, value: str) -> Callable[[Obj], bool]:
    return lambda obj: (obj["metadata"].get("annotations") or {}).get(key) == value


def labelled(key: str, value: str) -> Callable[[Obj], bool]:
    return lambda obj: (obj["metadata"].get("labels") or {}).get(key) == value


def volume_pod(command: str, volumes: Sequence[Obj], where: str = "/etc/vol", **more: Any) -> Obj:
    """A Pod that mounts its first volume at `where` (the others at where + number), and runs the command once."""
    mounts = [
        {"name": one["name"], "mountPath": where + (str(number) if number else ""), "readOnly": True}
        for number, one in enumerate(volumes)
    ]
    container = {**sh(command), "volumeMounts": mounts, **more.pop("container", {})}
    return once(container, volumes=list(volumes), **more)
