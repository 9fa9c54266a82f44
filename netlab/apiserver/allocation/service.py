"""What a Service needs before it is stored: its cluster address, its node ports, its health check port."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence

from netlab.api import errors, meta
from netlab.api.types import Obj
from netlab.api.validation.field import causes
from netlab.apiserver.allocation.families import fill_families
from netlab.apiserver.allocation.pool import Pool, ip_band, port_band

Undo = Callable[[], None]
_ROUTED = ("NodePort", "LoadBalancer")


class _Family:
    """The addresses of one family that are taken, whichever range they are of.

    `reserved` are those of IPAddresses that somebody made by hand."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.reserved: set[int] = set()
        self.open: list[AddressRange] = []


class AddressRange:
    """A service CIDR and what is taken of it. IPv6 has no broadcast address to spare."""

    def __init__(self, cidr: str, family: _Family) -> None:
        self.network = ipaddress.ip_network(cidr)
        self.first = str(self.network.network_address + 1)
        last = int(self.network.broadcast_address) - (self.network.version == 4)
        first, band = int(self.network.network_address) + 1, ip_band(self.network.num_addresses)
        self.pool = Pool(first, last, band, taken=family.taken, reserved=family.reserved)


class _Numbers:
    """The node ports that one request takes. A dry run takes nothing, and shows numbers that nobody has."""

    def __init__(self, pool: Pool, taken: list[tuple[Pool, int]], dry_run: bool) -> None:
        self.pool, self.taken, self.dry_run = pool, taken, dry_run
        self.own: list[int] = []

    def take(self, number: int) -> bool:
        if not self.pool.take(number):
            return False
        self._note(number)
        return True

    def any(self) -> int:
        """Raises 500 when all are taken. Dry: the next above its own, at first just above the range, as upstream."""
        if self.dry_run:
            self.own.append(max(self.own, default=self.pool.last + 1) + 1)
            return self.own[-1]
        number = self.pool.take_any()
        if number is None:
            raise errors.internal("failed to allocate a nodePort: range is full")
        self._note(number)
        return number

    def _note(self, number: int) -> None:
        self.own.append(number)
        self.taken.append((self.pool, number))


class Allocation:
    """The ranges of one cluster. Every method that takes returns how to give it back should the write fail.

    `service_cidr` is one CIDR or, comma-separated, one of each family; the first one's is the default family. They are
    what the ServiceCIDR `kubernetes` says; addresses are given from all ServiceCIDRs that are ready (`use`).
    """

    def __init__(self, service_cidr: str, node_ports: tuple[int, int]) -> None:
        configured = service_cidr.split(",")
        self._books = {_family(cidr): _Family() for cidr in configured}
        self.ranges = {_family(cidr): AddressRange(cidr, self._books[_family(cidr)]) for cidr in configured}
        for family, book in self._books.items():
            book.open = [self.ranges[family]]
        self.families = tuple(self.ranges)
        self.network = self.ranges[self.families[0]].network
        low, high = node_ports
        self.ports = Pool(low, high, port_band(high - low + 1))

    def use(self, cidrs: Sequence[Obj]) -> None:
        """Give from these ServiceCIDRs, from now on: those that are ready and not being deleted."""
        ready = [cidr for one in cidrs if is_ready(one) for cidr in one["spec"].get("cidrs") or ()]
        for family, book in self._books.items():
            known = {str(one.network): one for one in (*book.open, self.ranges[family])}
            wanted = dict.fromkeys(cidr for cidr in ready if _family(cidr) == family)
            book.open = [known.get(cidr) or AddressRange(cidr, book) for cidr in wanted]

    def reserve(self, address: str, *, kept: bool) -> None:
        """Whether somebody who is no Service keeps the address."""
        book = self._books.get(_family(address))
        if book is not None:
            (book.reserved.add if kept else book.reserved.discard)(_number(address))

    def repair(self, services: Iterable[Obj]) -> None:
        """Take what stored Services hold; the start of the server, so the Services are right and the books follow."""
        for service in services:
            for address in _addresses(service):
                if (book := self._books.get(_family(address))) is not None:
                    book.taken.add(_number(address))
            for port in _node_ports(service):
                self.ports.take(port)

    def create(self, service: Obj, *, dry_run: bool = False) -> Undo:
        """Fill in what is missing, take what is asked for. Raises 422 or 500 when that cannot be had."""
        return self._allocate(service, None, dry_run)

    def update(self, new: Obj, old: Obj, *, dry_run: bool = False) -> Undo:
        """As `create`; what `old` holds already stays its own. What it no longer needs is given back by `settle`."""
        _carry_over(new, old)
        return self._allocate(new, old, dry_run)

    def settle(self, new: Obj | None, old: Obj) -> None:
        """After the write of `new` (None: deleted): give back what only `old` held."""
        kept_addresses = set(_addresses(new)) if new is not None else set()
        kept_ports = set(_node_ports(new)) if new is not None else set()
        for address in set(_addresses(old)) - kept_addresses:
            if (book := self._books.get(_family(address))) is not None:
                book.taken.discard(_number(address))
        for port in set(_node_ports(old)) - kept_ports:
            self.ports.give_back(port)

    def _allocate(self, service: Obj, old: Obj | None, dry_run: bool) -> Undo:
        taken: list[tuple[Pool, int]] = []

        def undo() -> None:
            for pool, number in taken:
                pool.give_back(number)

        wrong = fill_families(service, old, self.families)
        if wrong:
            raise errors.invalid("Service", meta.name(service), causes(wrong))
        try:
            if _has_cluster_ip(service):
                self._cluster_ips(service, old, taken, dry_run)
            if service["spec"].get("type") in _ROUTED:
                self._node_ports(service, old, taken, dry_run)
        except errors.StatusError:
            undo()
            raise
        if dry_run:
            undo()
            return lambda: None
        return undo

    def _cluster_ips(self, service: Obj, old: Obj | None, taken: list[tuple[Pool, int]], dry_run: bool) -> None:
        """One address of each of its families; those that it had stay."""
        spec = service["spec"]
        asked = list(spec.get("clusterIPs") or ())
        held = _addresses(old) if old is not None else []
        found: list[str] = []
        for index, family in enumerate(spec["ipFamilies"]):
            address = asked[index] if index < len(asked) else ""
            if not address:
                address = self._any_address(family, taken, dry_run)
            elif address not in held:
                self._take_address(service, family, address, taken, dry_run)
            found.append(address)
        spec["clusterIP"], spec["clusterIPs"] = found[0], found

    def _any_address(self, family: str, taken: list[tuple[Pool, int]], dry_run: bool) -> str:
        for chosen in self._books[family].open:
            if dry_run:  # takes nothing, and shows the network's own address, as upstream
                return str(chosen.network.network_address)
            number = chosen.pool.take_any()
            if number is not None:
                taken.append((chosen.pool, number))
                return str(type(chosen.network.network_address)(number))
        raise errors.internal("failed to allocate a serviceIP: range is full")

    def _take_address(
        self, service: Obj, family: str, asked: str, taken: list[tuple[Pool, int]], dry_run: bool
    ) -> None:
        try:
            number = _number(asked)
        except ValueError:
            return  # validation has its own words for what is no address
        ranges = self._books[family].open
        inside = [one for one in ranges if _family(asked) == family and ipaddress.ip_address(asked) in one.network]
        chosen = next((one for one in inside if number in one.pool), None)
        if chosen is None:
            why = "the provided network does not match the current range"
            if nearest := inside or (ranges if dry_run else ()):  # a dry run asks one of the ranges, whichever
                valid = nearest[0].network
                why = f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {valid}"
        elif not chosen.pool.take(number):
            why = "provided IP is already allocated"
        else:
            taken.append((chosen.pool, number))
            return
        message = f'Invalid value: []string{{"{asked}"}}: failed to allocate IP {asked}: {why}'
        raise _refused(service, "spec.clusterIPs", message)

    def _node_ports(self, service: Obj, old: Obj | None, taken: list[tuple[Pool, int]], dry_run: bool) -> None:
        spec = service["spec"]
        held = set(_node_ports(old)) if old is not None else set()
        numbers = _Numbers(self.ports, taken, dry_run)
        if old is None:
            self._new_node_ports(service, numbers)
        else:
            self._changed_node_ports(service, held, numbers)
        if spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            self._health_check_port(service, held, taken)

    def _new_node_ports(self, service: Obj, numbers: _Numbers) -> None:
        """Ports of one number share a node port: DNS by TCP and UDP (upstream's initNodePorts)."""
        ports = service["spec"].get("ports") or []
        known: dict[int, int] = {}
        for index, port in enumerate(ports):
            if not port.get("nodePort") and not _wants_node_ports(service["spec"]):
                continue
            here, asked = port.get("port", 0), port.get("nodePort", 0)
            if here not in known:
                asked = next(
                    (other["nodePort"] for other in ports if other.get("port", 0) == here and other.get("nodePort")), 0
                )
                if asked:
                    self._take_port(service, index, asked, numbers)
                known[here] = port["nodePort"] = asked or numbers.any()
            elif not asked:
                port["nodePort"] = known[here]
            elif asked != known[here]:
                self._take_port(service, index, asked, numbers)

    def _changed_node_ports(self, service: Obj, held: set[int], numbers: _Numbers) -> None:
        """Upstream's updateNodePorts."""
        had = set(held)
        for index, port in enumerate(service["spec"].get("ports") or []):
            asked = port.get("nodePort", 0)
            if asked and asked not in had:
                self._take_port(service, index, asked, numbers)
                had.add(asked)
            elif not asked and _wants_node_ports(service["spec"]):
                port["nodePort"] = numbers.any()

    def _take_port(self, service: Obj, index: int, number: int, numbers: _Numbers) -> None:
        if number not in self.ports:
            valid = f"{self.ports.first}-{self.ports.last}"
            why = f"provided port is not in the valid range. The range of valid ports is {valid}"
        elif not numbers.take(number):
            why = "provided port is already allocated"
        else:
            return
        raise _refused(service, f"spec.ports[{index}].nodePort", f"Invalid value: {number}: {why}")

    def _health_check_port(self, service: Obj, own: set[int], taken: list[tuple[Pool, int]]) -> None:
        spec = service["spec"]
        number = spec.get("healthCheckNodePort", 0)
        if number in own:
            return
        if number:
            if number not in self.ports or not self.ports.take(number):
                message = (
                    f"failed to allocate requested HealthCheck NodePort {number}: provided port is already allocated"
                )
                raise errors.internal(message)
        else:
            number = self.ports.take_any()
            if number is None:
                raise errors.internal("failed to allocate a HealthCheck NodePort: range is full")
            spec["healthCheckNodePort"] = number
        taken.append((self.ports, number))


def is_ready(cidr: Obj) -> bool:
    """PURE. Whether addresses may be taken of a ServiceCIDR; one of which nothing is said counts as ready."""
    if meta.deleting(cidr):
        return False
    said = meta.condition(cidr, "Ready")
    return said is None or said.get("status") == "True"


def _refused(service: Obj, field: str, message: str) -> errors.StatusError:
    return errors.invalid("Service", meta.name(service), [errors.cause("FieldValueInvalid", field, message)])


def _wants_node_ports(spec: Obj) -> bool:
    return spec["type"] == "NodePort" or bool(spec.get("allocateLoadBalancerNodePorts", True))


def _has_cluster_ip(service: Obj) -> bool:
    spec = service.setdefault("spec", {})
    if spec.get("type") == "ExternalName":
        return False
    return spec.get("clusterIP") != "None" and next(iter(spec.get("clusterIPs") or ()), "") != "None"


def _carry_over(new: Obj, old: Obj) -> None:
    """What an update leaves out is what was there (upstream's patchAllocatedValues and the IP fields' defaults)."""
    spec, before = new.setdefault("spec", {}), old.get("spec", {})
    if spec.get("type") == "ExternalName" or before.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for field in ("clusterIP", "clusterIPs"):
            if before.get(field):
                spec[field] = before[field]
    if spec.get("type") in _ROUTED and before.get("type") in _ROUTED:
        _carry_node_ports(spec, before)
    if spec.get("type") == "LoadBalancer" and before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]


def _carry_node_ports(spec: Obj, before: Obj) -> None:
    known = {(p.get("protocol", "TCP"), p.get("port")): p.get("nodePort") for p in before.get("ports") or []}
    used = {p.get("nodePort") for p in spec.get("ports") or []}
    for port in spec.get("ports") or []:
        number = known.get((port.get("protocol", "TCP"), port.get("port")))
        if number and not port.get("nodePort") and number not in used:
            port["nodePort"] = number


def _addresses(service: Obj) -> list[str]:
    spec = service.get("spec", {})
    found = spec.get("clusterIPs") or [spec.get("clusterIP", "")]
    return [address for address in found if address and address != "None"]


def _node_ports(service: Obj) -> list[int]:
    spec = service.get("spec", {})
    found = [port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        found.append(spec["healthCheckNodePort"])
    return found


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))
