"""All Services and their endpoints as one node's proxy sees them, and what changed since it last looked.

State, but no I/O: informers feed objects in, a back end takes the changes out. A Service is computed once per change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.dataplane.services import objects
from netlab.dataplane.services.choose import Choice, choose
from netlab.dataplane.services.model import Endpoint, Family, NodeView, ServicePort, ServicePortName


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service port and its endpoints, chosen for the table's node."""

    port: ServicePort
    endpoints: tuple[Endpoint, ...]
    choice: Choice


class ServiceTable:
    """The proxied ports of one family on one node, by name."""

    def __init__(self, view: NodeView, family: Family = "IPv4") -> None:
        self.family: Family = family
        self._view = view
        self._services: dict[str, tuple[ServicePort, ...]] = {}
        self._slices: dict[str, dict[str, Obj]] = {}
        self._slice_owner: dict[str, str] = {}
        self._states: dict[str, dict[ServicePortName, ServiceState]] = {}
        self._dirty: dict[str, None] = {}
        # Kept as changes are taken: a change among 10,000 Services must not look at them all.
        self._endpoints = 0
        self._udp: dict[ServicePortName, ServiceState] = {}
        self._health_checked: dict[ServicePortName, ServiceState] = {}

    @property
    def view(self) -> NodeView:
        return self._view

    def set_view(self, view: NodeView) -> None:
        """What is local or near may change with it: everything is computed anew where it did."""
        if view != self._view:
            self._view = view
            self._dirty.update(dict.fromkeys([*self._services, *self._slices]))

    def set_service(self, key: str, service: Obj | None) -> None:
        """A Service by "namespace/name" as it is now, None where it is gone."""
        ports = objects.service_ports(service, self.family) if service is not None else ()
        if ports == self._services.get(key, ()):
            return
        if ports:
            self._services[key] = ports
        else:
            self._services.pop(key, None)
        self._dirty[key] = None

    def set_slice(self, key: str, endpoint_slice: Obj | None) -> None:
        """An EndpointSlice by "namespace/name" as it is now, None where it is gone."""
        owner = objects.slice_service(endpoint_slice) if endpoint_slice is not None else None
        previous = self._slice_owner.pop(key, None)
        if previous is not None:
            self._slices[previous].pop(key, None)
            if not self._slices[previous]:
                del self._slices[previous]
            self._dirty[previous] = None
        if owner is not None and endpoint_slice is not None and endpoint_slice.get("addressType") == self.family:
            self._slices.setdefault(owner, {})[key] = endpoint_slice
            self._slice_owner[key] = owner
            self._dirty[owner] = None

    @property
    def pending(self) -> bool:
        """Whether `take_changes` would find something to compute."""
        return bool(self._dirty)

    def take_changes(
        self,
    ) -> Mapping[str, tuple[dict[ServicePortName, ServiceState], dict[ServicePortName, ServiceState]]]:
        """(before, after) of every Service, by "namespace/name", whose ports or chosen endpoints changed since."""
        changes = {}
        for key in self._dirty:
            before, after = self._states.get(key, {}), self._compute(key)
            if before == after:
                continue
            if after:
                self._states[key] = after
            else:
                self._states.pop(key, None)
            changes[key] = (before, after)
            self._index(before, after)
        self._dirty.clear()
        return changes

    def states(self) -> Iterator[ServiceState]:
        """Every service port, as of the last `take_changes`."""
        for ports in self._states.values():
            yield from ports.values()

    def udp_states(self) -> Iterable[ServiceState]:
        """Those of `states` whose protocol is UDP."""
        return self._udp.values()

    def health_checked_states(self) -> Iterable[ServiceState]:
        """Those of `states` that have a health-check node port."""
        return self._health_checked.values()

    def endpoint_count(self) -> int:
        """Endpoints over all service ports: what decides about large-cluster mode."""
        return self._endpoints

    def _index(
        self, before: Mapping[ServicePortName, ServiceState], after: Mapping[ServicePortName, ServiceState]
    ) -> None:
        for name, state in before.items():
            self._endpoints -= len(state.endpoints)
            self._udp.pop(name, None)
            self._health_checked.pop(name, None)
        for name, state in after.items():
            self._endpoints += len(state.endpoints)
            if name.protocol == "UDP":
                self._udp[name] = state
            if state.port.health_check_node_port:
                self._health_checked[name] = state

    def _compute(self, key: str) -> dict[ServicePortName, ServiceState]:
        ports = self._services.get(key, ())
        if not ports:
            return {}
        slices = self._slices.get(key, {})
        # By name: where two slices have one address in different conditions, whichever came last may not decide.
        found = objects.endpoints([slices[name] for name in sorted(slices)], self.family, self._view.name)
        states = {}
        for port in ports:
            endpoints = found.get((port.name.port, port.name.protocol), ())
            states[port.name] = ServiceState(port, endpoints, choose(port, endpoints, self._view))
        return states
