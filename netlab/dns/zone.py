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
    """A ready endpoint with the name it has below its Service."""

    address: str
    hostname: str
    ports: tuple[Port, ...]


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
    """The names of one cluster. `serial` grows with every change, for the SOA record."""

    def __init__(self) -> None:
        self.namespaces: set[str] = set()
        self.services: dict[Key, Service] = {}
        self.serial = 1
        self._slices: dict[Key, tuple[Key, tuple[Endpoint, ...]]] = {}
        self._of_service: dict[Key, dict[Key, tuple[Endpoint, ...]]] = {}
        self._service_of_address: dict[str, set[Key]] = {}
        self._endpoints_of_address: dict[str, set[Key]] = {}

    def put_namespace(self, obj: Obj) -> None:
        self.namespaces.add(obj["metadata"]["name"].lower())
        self.serial += 1

    def drop_namespace(self, obj: Obj) -> None:
        self.namespaces.discard(obj["metadata"]["name"].lower())
        self.serial += 1

    def put_service(self, obj: Obj) -> None:
        """A Service as it is now."""
        self.drop_service(obj)
        service = _service(obj)
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
        self.drop_slice(obj)
        name = obj["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
        if not name or obj.get("addressType") == "FQDN":
            return
        service = (obj["metadata"]["namespace"].lower(), name.lower())
        endpoints = tuple(_endpoints(obj))
        self._slices[_key(obj)] = (service, endpoints)
        self._of_service.setdefault(service, {})[_key(obj)] = endpoints
        for endpoint in endpoints:
            self._endpoints_of_address.setdefault(endpoint.address, set()).add(service)

    def drop_slice(self, obj: Obj) -> None:
        self.serial += 1
        service, endpoints = self._slices.pop(_key(obj), (None, ()))
        if service is None:
            return
        slices = self._of_service[service]
        del slices[_key(obj)]
        if not slices:
            del self._of_service[service]
        still = {endpoint.address for endpoint in self.endpoints(service)}
        for endpoint in endpoints:
            if endpoint.address not in still:
                _discard(self._endpoints_of_address, endpoint.address, service)

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

    def endpoints_at(self, address: str) -> list[tuple[Service, Endpoint]]:
        """The endpoints of headless Services with that address (those of others have no name of their own)."""
        found: list[tuple[Service, Endpoint]] = []
        for key in sorted(self._endpoints_of_address.get(address, ())):
            service = self.services.get(key)
            if service is None or not service.headless:
                continue
            found.extend((service, endpoint) for endpoint in self.endpoints(key) if endpoint.address == address)
        return found


def _key(obj: Obj) -> Key:
    return obj["metadata"].get("namespace", "").lower(), obj["metadata"]["name"].lower()


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
        for address in endpoint.get("addresses") or ():
            text = canonical(address)
            hostname = (endpoint.get("hostname") or text.replace(".", "-").replace(":", "-")).lower()
            yield Endpoint(text, hostname, ports)


def canonical(address: str) -> str:
    """An address in its one usual spelling."""
    return str(ip_address(address))
