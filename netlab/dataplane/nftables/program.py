"""What a node's kube-proxy table must be, and the transactions that make it so. State, but no I/O.

A full sync reads the table, and changes what differs; a partial one changes what differs between a service port's
objects before and after. Either way nothing else is touched: sets keep their members, counters their counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from netlab.dataplane.nftables.base import NftablesConfig, base_state
from netlab.dataplane.nftables.rules import Element
from netlab.dataplane.nftables.service import Item, service_items
from netlab.dataplane.nftables.table import ElementKey, NftState, Transaction, create, diff
from netlab.dataplane.services.model import ServicePortName
from netlab.dataplane.services.table import ServiceState

Change = tuple[tuple[Item, ...], tuple[Item, ...]]


class NftablesProgram:
    """The objects of every service port, ready to be compared and printed."""

    def __init__(self, config: NftablesConfig) -> None:
        self.config = config
        self._services: dict[ServicePortName, tuple[Item, ...]] = {}
        self._owners: Counter[ElementKey] = Counter()

    @property
    def services(self) -> Mapping[ServicePortName, tuple[Item, ...]]:
        return self._services

    def configure(self, states: Iterable[ServiceState], **changes: Any) -> bool:
        """Changes fields of the configuration; True where one differs: all is computed anew, a full sync is due."""
        config = replace(self.config, **changes)
        if config == self.config:
            return False
        self.config = config
        self._services = {state.port.name: service_items(state.port, state.choice, config) for state in states}
        self._owners.clear()
        for items in self._services.values():
            self._own(items, 1)
        return True

    def update(self, name: ServicePortName, state: ServiceState | None) -> Change:
        """Takes a service port's new state; returns its objects before and after."""
        before = self._services.pop(name, ())
        self._own(before, -1)
        after: tuple[Item, ...] = ()
        if state is not None:
            after = self._services[name] = service_items(state.port, state.choice, self.config)
            self._own(after, 1)
        return before, after

    def state(self) -> NftState:
        """All of the table. Where two Services claim one address, the last by name has it."""
        state = base_state(self.config)
        for name in sorted(self._services):
            state.add(*self._services[name])
        return state

    def full(self, observed: NftState) -> Transaction:
        """From what is there (an empty state where there is no table) to what must be."""
        if not observed.chains:
            return create(self.state(), self.config.ip)
        return diff(observed, self.state(), self.config.ip)

    def partial(self, changes: Iterable[Change]) -> Transaction | None:
        """Only what differs. What another service port has too (a Service's cluster IP is one for all of its ports)
        stays. None where two Services claim one address: then only a full sync knows who has it."""
        before, after = NftState(), NftState()
        for old, new in changes:
            before.add(*old)
            after.add(*new)
        changed = (*before.elements.items(), *after.elements.items())
        if any(element.verdict is not None and self._owners[key] > 1 for key, element in changed):
            return None
        shared = {key for key in before.elements if key not in after.elements and self._owners[key]}
        if shared:
            after.add(*self._find(shared))
        return diff(before, after, self.config.ip)

    def _own(self, items: Iterable[Item], change: int) -> None:
        for item in items:
            if isinstance(item, Element):
                self._owners[item.container, item.key] += change

    def _find(self, keys: set[ElementKey]) -> Iterator[Element]:
        for items in self._services.values():
            for item in items:
                if isinstance(item, Element) and (item.container, item.key) in keys:
                    yield item
