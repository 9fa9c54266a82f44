"""IPVS in memory: it holds servers, sets and addresses, and refuses what the kernel would refuse."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace

from netlab.dataplane.ipvs.model import Frontend, IpSet, RealServer, VirtualServer
from netlab.dataplane.ipvs.sets import IpSets
from netlab.dataplane.ipvs.state import Bound, Device, IpvsState, Member, Real, Step
from netlab.dataplane.model import Sysctl
from netlab.node.proxy_ipvs_kernel import Observed


class IpvsRefused(Exception):  # noqa: N818
    """What the kernel would have answered."""


class FakeIpvs:
    """Implements IpvsKernel. `busy` is how many connections a real server carries; `local` the node's addresses."""

    def __init__(self, sets: IpSets) -> None:
        self.sets = sets
        self.state = IpvsState()
        self.busy: dict[tuple[Frontend, tuple[str, int]], int] = {}
        self.sysctls: dict[str, str] = {}
        self.local: tuple[str, ...] = ("10.244.0.1", "192.168.0.2")
        self.applied: list[Step] = []
        self.fail_next = False

    async def set(self, sysctls: Sequence[Sysctl]) -> None:
        self.sysctls |= {sysctl.name: sysctl.value for sysctl in sysctls}

    async def node_addresses(self) -> tuple[str, ...]:
        return self.local

    async def observe(self) -> Observed:
        return Observed(copy.deepcopy(self.state), dict(self.busy))

    async def reals(self, frontends: Iterable[Frontend]) -> Observed:
        found = {frontend: dict(self.state.reals.get(frontend, {})) for frontend in frontends}
        return Observed(IpvsState(reals=found), dict(self.busy))

    async def apply(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps):
            if self.fail_next and number >= len(steps) // 2:
                self.fail_next = False
                raise IpvsRefused(f"told to fail at {step}")
            self._apply(step)
            self.applied.append(step)

    def _apply(self, step: Step) -> None:
        state, thing = self.state, step.thing
        match thing:
            case Device():
                state.device = step.op == "add"
                state.addresses.clear()
            case Bound(address):
                _need(state.device, step)
                (state.addresses.add if step.op == "add" else state.addresses.discard)(address)
            case VirtualServer(frontend=frontend):
                self._server(step, thing, frontend)
            case Real(frontend, server):
                self._real(step, frontend, server)
            case IpSet(name=name):
                self._set(step, name)
            case Member(set_, entry):
                members = state.members.get(self._known(set_.name))
                if members is None:
                    raise IpvsRefused(f"no set: {step}")
                (members.add if step.op == "add" else members.discard)(entry)

    def _server(self, step: Step, server: VirtualServer, frontend: Frontend) -> None:
        _need((frontend in self.state.servers) == (step.op != "add"), step)
        if step.op == "del":
            del self.state.servers[frontend]
            self.state.reals.pop(frontend, None)
        else:
            self.state.servers[frontend] = server
            self.state.reals.setdefault(frontend, {})

    def _real(self, step: Step, frontend: Frontend, server: RealServer) -> None:
        _need(frontend in self.state.servers, step)
        reals = self.state.reals[frontend]
        _need((server.key in reals) == (step.op != "add"), step)
        if step.op == "del":
            del reals[server.key]
        else:
            reals[server.key] = replace(server)

    def _set(self, step: Step, kernel_name: str) -> None:
        if step.op == "add":
            self.state.members.setdefault(self._known(kernel_name), set())
        else:
            self.state.members.pop(self._known(kernel_name), None)

    def _known(self, kernel_name: str) -> str:
        return next(name for name, set_ in self.sets.by_name.items() if set_.name == kernel_name)

    async def clear_servers(self) -> None:
        self.state = IpvsState(members=self.state.members)

    async def clear_sets(self) -> None:
        self.state.members = {}


def _need(condition: bool, step: Step) -> None:
    if not condition:
        raise IpvsRefused(str(step))
