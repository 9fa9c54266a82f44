"""What IPVS mode needs of a node's kernel beside its iptables: a narrow protocol, and the real thing behind it."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from netlab.dataplane.ipvs.model import Frontend, IpSet
from netlab.dataplane.ipvs.sets import IpSets
from netlab.dataplane.ipvs.state import Bound, Device, IpvsState, Member, Reals, Step
from netlab.dataplane.model import Sysctl

if TYPE_CHECKING:
    from netlab.kernel.ipset import IpSetHandle
    from netlab.kernel.ipvs import Ipvs, ObservedReal
    from netlab.kernel.netns import NetNs

T = TypeVar("T")


@dataclass(slots=True)
class Observed:
    """What the kernel has, and how many connections its real servers carry."""

    state: IpvsState
    connections: dict[tuple[Frontend, tuple[str, int]], int] = field(default_factory=dict)


class IpvsKernel(Protocol):
    """One node's virtual servers, dummy device and sets, of one family."""

    async def set(self, sysctls: Sequence[Sysctl]) -> None:
        """Writes settings; OSError names one that is refused."""
        ...

    async def node_addresses(self) -> tuple[str, ...]:
        """The node's own addresses, sorted: neither loopback's nor the dummy device's."""
        ...

    async def observe(self) -> Observed:
        """Everything of ours."""
        ...

    async def reals(self, frontends: Iterable[Frontend]) -> Observed:
        """Only the real servers of these virtual servers."""
        ...

    async def apply(self, steps: Sequence[Step]) -> None: ...

    async def clear_servers(self) -> None:
        """Removes all virtual servers, and the dummy device. Where the kernel has no IPVS there is nothing to do."""
        ...

    async def clear_sets(self) -> None:
        """Removes our sets; no rule may refer to them any more."""
        ...


class NodeIpvs:
    """The IPVS of a node's namespace. Its sockets are opened at the first use."""

    def __init__(self, ns: NetNs, sets: IpSets) -> None:
        self._ns, self._sets = ns, sets
        self._lock = threading.Lock()
        self._ipvs: Ipvs | None = None
        self._ipset: IpSetHandle | None = None

    async def _do(self, work: Callable[[], T]) -> T:
        def locked() -> T:
            with self._lock:
                return work()

        return await asyncio.to_thread(locked)

    @property
    def ipvs(self) -> Ipvs:
        from netlab.kernel.ipvs import Ipvs

        if self._ipvs is None:
            self._ipvs = Ipvs(self._ns)
        return self._ipvs

    @property
    def ipset(self) -> IpSetHandle:
        from netlab.kernel.ipset import IpSetHandle

        if self._ipset is None:
            self._ipset = IpSetHandle(self._ns)
        return self._ipset

    async def set(self, sysctls: Sequence[Sysctl]) -> None:
        from netlab.dataplane.model import Plan
        from netlab.dataplane.model import Step as PlanStep
        from netlab.kernel.apply import apply

        plan = Plan(tuple(PlanStep("add", sysctl, "IPVS mode needs it") for sysctl in sysctls))
        await self._do(lambda: apply(self._ns, plan))

    async def node_addresses(self) -> tuple[str, ...]:
        from netlab.kernel.ipvs import addresses

        _, others = await self._do(lambda: addresses(self._ns))
        return tuple(sorted(filter(self._is_ours, others)))

    def _is_ours(self, address: str) -> bool:
        return (":" in address) == (self._sets.family == "IPv6")

    async def observe(self) -> Observed:
        return await self._do(self._observe)

    def _observe(self) -> Observed:
        from netlab.kernel.ipvs import addresses, device_index

        bound, _ = addresses(self._ns)
        servers = {one.server.frontend: one.server for one in self.ipvs.servers()}
        ours = {frontend: server for frontend, server in servers.items() if frontend.family == self._sets.family}
        found = self._reals(ours)
        found.state.device = device_index(self._ns) != 0
        found.state.servers = ours
        found.state.addresses = set(filter(self._is_ours, bound))
        there = self.ipset.all()
        found.state.members = {
            name: set(there[set_.name].entries) for name, set_ in self._sets.by_name.items() if set_.name in there
        }
        return found

    async def reals(self, frontends: Iterable[Frontend]) -> Observed:
        return await self._do(lambda: self._reals(frontends))

    def _reals(self, frontends: Iterable[Frontend]) -> Observed:
        found = Observed(IpvsState())
        for frontend in frontends:
            observed = self.ipvs.reals(frontend)
            found.state.reals[frontend] = _by_key(observed)
            for one in observed:
                found.connections[frontend, one.server.key] = one.active + one.inactive
        return found

    async def apply(self, steps: Sequence[Step]) -> None:
        await self._do(lambda: self._apply(steps))

    def _apply(self, steps: Sequence[Step]) -> None:
        """In their order, batched as long as they are of one kind."""
        from netlab.kernel.ipvs import apply_device

        at = 0
        while at < len(steps):
            kind, end = _kind(steps[at]), at
            while end < len(steps) and _kind(steps[end]) == kind:
                end += 1
            if kind == "device":
                apply_device(self._ns, steps[at:end])
            else:
                (self.ipset if kind == "ipset" else self.ipvs).apply(steps[at:end])
            at = end

    async def clear_servers(self) -> None:
        await self._do(self._clear_servers)

    def _clear_servers(self) -> None:
        from netlab.kernel.errors import KernelError
        from netlab.kernel.ipvs import apply_device, device_index

        if not device_index(self._ns):
            return  # this mode has never been here
        apply_device(self._ns, (Step("del", Device()),))
        try:
            self.ipvs.flush()
        except KernelError as problem:
            if problem.errno != errno.ENOENT:
                raise

    async def clear_sets(self) -> None:
        await self._do(self._clear_sets)

    def _clear_sets(self) -> None:
        there = self.ipset.all()
        ours = [set_ for set_ in self._sets.by_name.values() if set_.name in there]
        if ours:
            self.ipset.apply([Step("del", set_) for set_ in ours])
        self.close()

    def close(self) -> None:
        """Lets go of the sockets; they are opened again when they are needed."""
        for held in (self._ipvs, self._ipset):
            if held is not None:
                held.close()
        self._ipvs = self._ipset = None


def _kind(step: Step) -> str:
    if isinstance(step.thing, Device | Bound):
        return "device"
    return "ipset" if isinstance(step.thing, IpSet | Member) else "ipvs"


def _by_key(observed: Sequence[ObservedReal]) -> Reals:
    return {one.server.key: one.server for one in observed}
