"""Putting a running lab back to how it was: cheap when nothing has changed, and a few ms for what did.

The API server is asked which collections have changed since the base; only these are read. Everything is done over the
API, in the order of `differences`, and looked at again until nothing is left to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.lab.facade import differences
from netlab.lab.facade.differences import Base, Steps, key_of
from netlab.lab.facade.model import WaitTimeout
from netlab.lab.facade.remains import Remains, addresses_of
from netlab.lab.facade.waiting import how_far, reached
from netlab.lab.inside import running_pods
from netlab.lab.portal import Where
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.lab.facade.lab import Lab

FAULTS = "faults.json"
"""Where labd remembers what is broken on purpose."""
CHANGES = "/debug/netlab/changes"
PAUSE = 0.008
"""Seconds between two looks: controllers and kubelets are at work meanwhile."""
SIOCGIFFLAGS = 0x8913
IFF_UP = 1
_POD_END = re.compile(r"veth[0-9a-f]{8}\Z")
TIMEOUT = 60.0
LIVING = frozenset({"pods", "services"})
"""Collections whose objects are more than what the API says of them: processes, rules, connections."""


@dataclass(slots=True)
class Cables:
    """Interfaces that were up: a socket of each namespace, kept to ask with."""

    sockets: dict[str, socket.socket] = field(default_factory=dict)
    up: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def down(self) -> list[tuple[str, str]]:
        """(namespace, interface) of what was up and is not any more."""
        return [
            (place, name)
            for place, names in self.up.items()
            for name in names
            if not _flags(self.sockets[place], name) & IFF_UP
        ]

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


def _flags(sock: socket.socket, interface: str) -> int:
    try:
        answer = fcntl.ioctl(sock.fileno(), SIOCGIFFLAGS, struct.pack("=16sH22x", interface.encode(), 0))
    except OSError:
        return 0
    return int(struct.unpack_from("=H", answer, 16)[0])


class Resetter:
    """Made when the lab is as it should be; `reset` brings it back there. Not shared between threads."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.base = Base()
        self.paths: dict[str, Obj] = {}
        self.modes = self._modes()
        answer = self._changes(0)
        self.since = int(answer["revision"])
        self.base.late = {name: set(keys) for name, keys in answer["late"].items()}
        self._pool = ThreadPoolExecutor(6, thread_name_prefix="netlab-reset")
        for name, objects in self._read(answer["collections"]).items():
            self.base.objects[name] = {key_of(obj): obj for obj in objects}
            self.base.adopt(name, objects)
        self.cables = self._cables()
        self.remains = Remains(lab, self.cables.up.keys() - {""})
        self.remains.open()
        running_pods(lab.paths)  # imports what the first reset would have to

    def close(self) -> None:
        self._pool.shutdown()
        self.cables.close()
        self.remains.close()

    def reset(self, timeout: float = TIMEOUT) -> float:
        """Bring everything back; seconds that it took. WaitTimeout says what could not be brought back in time."""
        began = time.monotonic()
        deadline = began + timeout
        shaken, touched, freed = self._underlay(), False, set[str]()
        for attempt in range(1 << 30):
            answer = self._changes(self.since)
            todo = self._todo(answer["collections"])
            if not todo:
                break
            if time.monotonic() > deadline:
                raise WaitTimeout(f"lab '{self.lab.name}': not as before after {timeout:g} s: {_tell(todo)}")
            touched = True
            freed |= addresses_of(obj for one in todo if one.collection == "services" for obj in one.delete)
            shaken = shaken or any(one.restore or one.create for one in todo)
            self._do(todo, attempt)
            if attempt:
                time.sleep(PAUSE)
        if self._lost("pods", answer["collections"]):
            shaken = True
        living = not LIVING.isdisjoint(answer["collections"])
        if touched or shaken or living:
            self._settled(deadline, ready=shaken, living=living, freed=freed)
        if touched or shaken:
            self._forget_events()
        self.since = int(answer["revision"])
        return time.monotonic() - began

    # what there is to do

    def _changes(self, since: int) -> Obj:
        answer: Obj = self.lab.api.call("GET", CHANGES, query={"since": str(since)})
        return answer

    def _todo(self, changed: Obj) -> list[Steps]:
        return differences.steps(self.base, self._read(changed))

    def _read(self, changed: Obj) -> dict[str, list[Obj]]:
        """All objects of the collections that matter."""
        names = [name for name in changed if name not in differences.IGNORED]
        for name in names:
            self.paths[name] = changed[name]
        full = [name for name in names if changed[name]["items"]]
        lists = self._each(lambda name: self._list(changed[name]), full)
        return {**{name: [] for name in names}, **dict(zip(full, lists, strict=True))}

    def _list(self, collection: Obj) -> list[Obj]:
        return list(self.lab.api.call("GET", f"{collection['path']}/{collection['plural']}")["items"])

    def _each(self, function: Callable[[str], list[Obj]], names: list[str]) -> list[list[Obj]]:
        """One after the other where there are few: a thread has a connection to make first."""
        return list(map(function, names)) if len(names) < 4 else list(self._pool.map(function, names))

    # doing it

    def _do(self, todo: list[Steps], attempt: int) -> None:
        for rank in range(4):
            tasks = [task for one in todo if differences.rank(one) == rank for task in self._tasks(one, attempt)]
            for _ in self._pool.map(_quietly, tasks) if len(tasks) > 1 else map(_quietly, tasks):
                pass

    def _tasks(self, one: Steps, attempt: int) -> Iterable[Callable[[], None]]:
        for obj in one.delete:
            yield lambda obj=obj: self._delete(one.collection, obj, attempt)  # type: ignore[misc]
        for now, before in one.restore:
            yield lambda now=now, before=before: self._restore(one.collection, now, before)  # type: ignore[misc]
        for obj in one.create:
            yield lambda obj=obj: self._create(one.collection, obj)  # type: ignore[misc]

    def _path(self, collection: str, obj: Obj, *, name: bool = True) -> str:
        where = self.paths[collection]
        namespace = obj["metadata"].get("namespace")
        middle = f"/namespaces/{namespace}" if where["namespaced"] and namespace else ""
        return f"{where['path']}{middle}/{where['plural']}" + (f"/{obj['metadata']['name']}" if name else "")

    def _delete(self, collection: str, obj: Obj, attempt: int) -> None:
        api, path, metadata = self.lab.api, self._path(collection, obj), obj["metadata"]
        if attempt and metadata.get("deletionTimestamp"):
            if collection == "namespaces":
                body = {**obj, "kind": "Namespace", "apiVersion": "v1", "spec": {"finalizers": []}}
                api.call("PUT", f"{path}/finalize", body=body)
                return
            if metadata.get("finalizers") and collection not in differences.LAST:
                patch = {"metadata": {"finalizers": None}}
                api.call("PATCH", path, body=patch, content="application/merge-patch+json")
                return
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        api.call("DELETE", path, body={**options, "preconditions": {"uid": metadata["uid"]}})

    def _restore(self, collection: str, now: Obj, before: Obj) -> None:
        metadata = {**now["metadata"], **{key: before["metadata"].get(key) for key in ("labels", "annotations")}}
        body = {**before, "metadata": {key: value for key, value in metadata.items() if value is not None}}
        self.lab.api.call("PUT", self._path(collection, now), body=self._typed(collection, body))

    def _create(self, collection: str, before: Obj) -> None:
        dropped = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences")
        metadata = {key: value for key, value in before["metadata"].items() if key not in dropped}
        body = self._typed(collection, {**before, "metadata": metadata})
        made: Obj = self.lab.api.call("POST", self._path(collection, before, name=False), body=body)
        self.base.objects[collection][key_of(made)] = made

    def _typed(self, collection: str, obj: Obj) -> Obj:
        where = self.paths[collection]
        api_version = where["path"].removeprefix("/apis/").removeprefix("/api/")
        return {**obj, "kind": where["kind"], "apiVersion": api_version}

    def _forget_events(self) -> None:
        with contextlib.suppress(StatusError):
            self.lab.api.call("DELETE", "/api/v1/namespaces/default/events")

    # what takes its time

    def _lost(self, name: str, changed: Obj) -> bool:
        """Whether something of the base is not there that a controller makes again by itself."""
        return name in changed and not self.base.objects.get(name, {}).keys() <= changed[name]["items"].keys()

    def _settled(self, deadline: float, *, ready: bool, living: bool, freed: set[str]) -> None:
        """`ready`: nodes and the cluster's own pods are. `living`: pods or Services came or went; of those that are no
        more no process and no connection is left, and no rule for an address of `freed`."""
        while True:
            pods = self.lab.api.list(("v1", "pods")) if ready or living else []
            nodes = self.lab.api.list(("v1", "nodes")) if ready or living else []
            waits = []
            if ready:
                listed = [*({"kind": "Node", **node} for node in nodes), *({"kind": "Pod", **pod} for pod in pods)]
                waits = [how_far(obj) for obj in listed if not reached(obj, "Ready")]
            if living:
                known = {key_of(pod) for pod in pods}
                left = [name for name in running_pods(self.lab.paths) if name not in known]
                waits += [f"pod {name} still has processes" for name in left]
            if freed and not waits:
                said = self._pool.map(lambda node: self.remains.rules(node, self.modes[node], freed), self.modes)
                waits = [one for one in said if one]
            if not waits:
                break
            if time.monotonic() > deadline:
                raise WaitTimeout(f"lab '{self.lab.name}': not as before: {'; '.join(waits)}")
            time.sleep(PAUSE)
        if living:
            held = self.remains.held(pods, self.lab.api.list(("v1", "services")), nodes)
            for _ in self._pool.map(lambda machine: self.remains.forget_flows(machine, held), self.remains.machines):
                pass

    # the underlay and the proxy

    def _underlay(self) -> bool:
        """Put right cables and devices that are down, and proxies that were changed; whether there were any."""
        shaken = heal(self.lab)
        for place, name in self.cables.down():
            shaken = True
            command = ("ip", "link", "set", "dev", name, "up")
            self.lab.portal.run(Where(place), command, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}, what=place)
        modes = self._modes()
        for node, mode in self.modes.items():
            if modes.get(node) != mode:
                shaken = True
                self.lab.klab("proxy-mode", mode, "--node", node)
        return shaken

    def _modes(self) -> dict[str, str]:
        from netlab.lab import proxymodes

        chosen = proxymodes.chosen(self.lab.paths.state, self.lab.topology)
        return {node: choice.mode for node, choice in chosen.items()}

    def _cables(self) -> Cables:
        from netlab.lab.inside import machines

        found = Cables()
        for place in ("", *machines(self.lab.topology)):
            sock = found.sockets[place] = self.lab.portal.open_socket(place, socket.AF_INET, socket.SOCK_DGRAM)
            names = [name for name in _names(sock) if not _POD_END.match(name)]
            found.up[place] = tuple(name for name in names if _flags(sock, name) & IFF_UP)
        return found


def _names(sock: socket.socket) -> list[str]:
    """The interfaces of a socket's namespace: indexes are small and given in order."""
    from netlab.trace.merge import interface_name

    found = (interface_name(sock.fileno(), index) for index in range(1, 256))
    return [name for name in found if not name.startswith("#")]


def heal(lab: Lab) -> bool:
    """End the faults of the lab, and mend the cables that `Lab.cut` has pulled; whether there was anything."""
    broken = [*lab.severed]
    if (lab.paths.state / FAULTS).exists():
        from netlab.lab import faulting

        broken += [one["id"] for one in faulting.heal(lab.paths)]
    for machine in sorted(lab.severed):
        lab.mend(machine)
    return bool(broken)


def _quietly(task: Callable[[], None]) -> None:
    """Gone already, changed meanwhile: the next look tells."""
    try:
        task()
    except StatusError as error:
        if error.code not in (404, 409, 422):
            raise LabError(f"the lab cannot be brought back: {error.message}") from None


def _tell(todo: list[Steps]) -> str:
    words = []
    for one in todo:
        words += [f"{one.collection} {key_of(obj)} is still there" for obj in one.delete]
        words += [f"{one.collection} {key_of(obj)} is changed" for obj, _ in one.restore]
        words += [f"{one.collection} {key_of(obj)} is missing" for obj in one.create]
    return "; ".join(words[:5])
