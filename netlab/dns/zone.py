"""What the API says about names, indexed for questions. Pure: it is told of objects, and asked.

Every change costs what the changed object holds, not what the cluster holds. Comparisons are case-insensitive, as the
specification wants: keys are lower case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from netlab.api.types import Obj


@dataclass(frozen=True, slots=True)
class Port:
    """`name` is empty for an unnamed port; -1 is the port of an endpoint that has none."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready endpoint. `hostname` is the one it was given, `pod` the name of the pod behind it; either may be ""."""

    address: str
    hostname: str
    ports: tuple[Port, ...]
    pod: str = ""

    def label(self, pod_names: bool = False) -> str:
        """Its name below its Service: the hostname, with `endpoint_pod_names` else the pod's, else the address."""
        if self.hostname:
            return self.hostname
        if pod_names and self.pod:
            return self.pod
        return self.address.replace(".", "-").replace(":", "-")


@dataclass(frozen=True, slots=True)
class Service:
    """`addresses` are the cluster IPs (none: headless); `external` is the ExternalName."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    ports: tuple[Port, ...]
    external: str = ""

    @property
    def headless(self) -> bool:
        return not self.addresses and not self.external


Key = tuple[str, str]
"""(namespace, name)"""


class Zone:
    """The names of one cluster. `serial` grows with every change, for the SOA record and for whoever keeps answers."""

    def __init__(self) -> None:
        self.namespaces: set[str] = set()
        self.services: dict[Key, Service] = {}
        self.serial = 1
        self._slices: dict[Key, tuple[Key, tuple[Endpoint, ...]]] = {}
        self._of_service: dict[Key, dict[Key, tuple[Endpoint, ...]]] = {}
        self._service_of_address: dict[str, set[Key]] = {}
        self._endpoints_of_address: dict[str, set[Key]] = {}
        self._pods: dict[Key, tuple[str, ...]] = {}
        self._pods_at: dict[str, set[Key]] = {}

    def put_namespace(self, obj: Obj) -> None:
        name = obj["metadata"]["name"].lower()
        if name not in self.namespaces:
            self.namespaces.add(name)
            self.serial += 1

    def drop_namespace(self, obj: Obj) -> None:
        self.namespaces.discard(obj["metadata"]["name"].lower())
        self.serial += 1

    def put_service(self, obj: Obj) -> None:
        """A Service as it is now."""
        service = _service(obj)
        if self.services.get(_key(obj)) == service:
            return
        self.drop_service(obj)
        self.services[_key(obj)] = service
        for address in service.addresses:
            self._service_of_address.setdefault(address, set()).add(_key(obj))

    def drop_service(self, obj: Obj) -> None:
        self.serial += 1
        old = self.services.pop(_key(obj), None)
        for address in old.addresses if old else ():
            _discard(self._service_of_address, address, _key(obj))

    def put_slice(self, obj: Obj) -> None:
        """An EndpointSlice as it is now; one that names no Service counts for nothing."""
        name = (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        if not name or obj.get("addressType") == "FQDN":
            self.drop_slice(obj)
            return
        service = (obj["metadata"]["namespace"].lower(), name.lower())
        endpoints = tuple(_endpoints(obj))
        if self._slices.get(_key(obj)) == (service, endpoints):
            return
        self.drop_slice(obj)
        self.serial += 1
        self._slices[_key(obj)] = (service, endpoints)
        self._of_service.setdefault(service, {})[_key(obj)] = endpoints
        for endpoint in endpoints:
            self._endpoints_of_address.setdefault(endpoint.address, set()).add(service)

    def drop_slice(self, obj: Obj) -> None:
        service, endpoints = self._slices.pop(_key(obj), (None, ()))
        if service is None:
            return
        self.serial += 1
        slices = self._of_service[service]
        del slices[_key(obj)]
        if not slices:
            del self._of_service[service]
        still = {endpoint.address for endpoint in self.endpoints(service)}
        for endpoint in endpoints:
            if endpoint.address not in still:
                _discard(self._endpoints_of_address, endpoint.address, service)

    def put_pod(self, obj: Obj) -> None:
        """A pod as it is now, for `pods verified`; one that has ended has no name."""
        status = obj.get("status") or {}
        ended = status.get("phase") in ("Succeeded", "Failed") or obj["metadata"].get("deletionTimestamp")
        entries = status.get("podIPs") or ([{"ip": status["podIP"]}] if status.get("podIP") else [])
        addresses = () if ended else tuple(canonical(entry["ip"]) for entry in entries)
        if self._pods.get(_key(obj), ()) == addresses:
            return
        self.drop_pod(obj)
        self._pods[_key(obj)] = addresses
        for address in addresses:
            self._pods_at.setdefault(address, set()).add(_key(obj))

    def drop_pod(self, obj: Obj) -> None:
        addresses = self._pods.pop(_key(obj), ())
        self.serial += bool(addresses)
        for address in addresses:
            _discard(self._pods_at, address, _key(obj))

    def has_pod(self, namespace: str, address: str) -> bool:
        """Whether a pod of the namespace has that address."""
        return any(key[0] == namespace for key in self._pods_at.get(address, ()))

    def endpoints(self, service: Key) -> Iterator[Endpoint]:
        """The ready endpoints of a Service, from all its slices; one that two slices name comes once."""
        seen: set[Endpoint] = set()
        for endpoints in self._of_service.get(service, {}).values():
            for endpoint in endpoints:
                if endpoint not in seen:
                    seen.add(endpoint)
                    yield endpoint

    def services_at(self, address: str) -> list[Service]:
        """The Services with that cluster IP."""
        return [self.services[key] for key in sorted(self._service_of_address.get(address, ()))]

    def endpoints_at(self, address: str) -> list[tuple[Key, Endpoint]]:
        """The endpoints with that address, and of which Service they are."""
        return [
            (key, endpoint)
            for key in sorted(self._endpoints_of_address.get(address, ()))
            for endpoint in self.endpoints(key)
            if endpoint.address == address
        ]


def _key(obj: Obj) -> Key:
    return (obj["metadata"].get("namespace") or "").lower(), obj["metadata"]["name"].lower()


def _discard(index: dict[str, set[Key]], value: str, key: Key) -> None:
    keys = index.get(value)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del index[value]


def _service(obj: Obj) -> Service:
    spec = obj.get("spec", {})
    namespace, name = _key(obj)
    if spec.get("type") == "ExternalName":
        return Service(namespace, name, (), (), external=spec.get("externalName", "").rstrip("."))
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    ports = tuple(
        Port(port.get("name", "").lower(), port.get("protocol", "TCP").lower(), port["port"])
        for port in spec.get("ports") or ()
    )
    return Service(namespace, name, tuple(canonical(a) for a in addresses if a != "None"), ports)


def _endpoints(obj: Obj) -> Iterator[Endpoint]:
    ports = tuple(
        Port((port.get("name") or "").lower(), (port.get("protocol") or "TCP").lower(), port.get("port") or -1)
        for port in obj.get("ports") or ()
    ) or (Port("", "", -1),)
    for endpoint in obj.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        target = endpoint.get("targetRef") or {}
        pod = target.get("name", "") if target.get("kind", "Pod") == "Pod" else ""
        for address in endpoint.get("addresses") or ():
            yield Endpoint(canonical(address), (endpoint.get("hostname") or "").lower(), ports, pod.lower())


def canonical(address: str) -> str:
    """An address in its one usual spelling."""
    return str(ip_address(address))
