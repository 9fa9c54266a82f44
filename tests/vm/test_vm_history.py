"""Random histories in IPVS mode, on the stock kernel: as tests/kernel/test_signature_random.py has for other modes.

Beside rules, the kernel's virtual servers, real servers, weights, ipsets and the addresses of kube-ipvs0 are those of a
fresh full sync; what is more are only real servers of weight 0 that still carry connections or wait to be looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from netlab.dataplane.ipvs.model import Frontend, RealServer
from netlab.dataplane.ipvs.sets import ip_sets
from netlab.dataplane.ipvs.state import Step
from netlab.dataplane.services import Choice, Endpoint, Family
from netlab.kernel import iptables as kernel_iptables
from netlab.kernel import netns, throwaway
from netlab.node.proxy import Proxier
from netlab.node.proxy_ipvs import IpvsBackend
from netlab.node.proxy_ipvs_kernel import NodeIpvs, Observed
from netlab.node.proxy_kernel import NodeKernel
from tests.kernel.signature_history import AS_FOUND, Killed, LiveHistory, MortalKernel, histories
from tests.kernel.signature_net import NODES, ip

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

MORE = "203.0.113.1"
"""The external IP of Service a; a device of the node's own has it now and then."""


class MortalIpvs(NodeIpvs):
    """The proxy may die in the middle of what it writes."""

    def __init__(self, kernel: IpvsMortalKernel) -> None:
        super().__init__(kernel.space, ip_sets("IPv4"))
        self._kernel = kernel

    async def apply(self, steps: Sequence[Step]) -> None:
        if self._kernel.dies_after == 1 and len(steps) > 1:
            self._kernel.dies_after = 0
            await super().apply(steps[: len(steps) // 2])
            raise Killed
        await super().apply(steps)
        if steps:
            self._kernel._count()


class IpvsMortalKernel(MortalKernel):
    def __init__(self, space: netns.NetNs) -> None:
        super().__init__(space)
        self.space = space
        self._mortal = MortalIpvs(self)

    def ipvs(self, family: Family) -> NodeIpvs:
        return self._mortal


class IpvsHistory(LiveHistory):
    """As in the other modes; also the node's addresses change, and a minute passes."""

    own: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.kernel = IpvsMortalKernel(self.net.ns["here"])

    @rule(own=st.booleans())
    def addresses(self, own: bool) -> None:
        """A device of the node gets an address that a Service has, or loses it."""
        if own != self.own:
            ip("here", f"addr {'add' if own else 'del'} {MORE}/32 dev eth0")
            self.own = own
        if asyncio.run(self.proxier.backend.attend()):
            self.proxier.restore_all()

    @rule()
    def a_minute(self) -> None:
        assert isinstance(self.proxier.backend, IpvsBackend)
        if self.proxier.full_syncs:
            asyncio.run(self.proxier.backend.check_draining())

    def teardown(self) -> None:
        super().teardown()
        if self.own:
            ip("here", f"addr del {MORE}/32 dev eth0")

    def fresh(self, kernel: NodeKernel) -> Proxier:
        made = super().fresh(kernel)
        asyncio.run(made.backend.prepare())
        return made

    def chosen(self, choice: Choice, internal_local: bool) -> Sequence[Endpoint]:
        return choice.local if internal_local and choice.local else choice.cluster

    def equals_a_full_sync(self) -> None:
        name = f"twin{next(self.numbers)}"
        twin = netns.create(name)
        place = NODES["here"]
        own = f"\naddr add {MORE}/32 dev docker0" if self.own else ""
        ip(
            name,
            f"link add docker0 type dummy\naddr add {place.ip}/24 dev docker0\n"
            f"addr add {place.gateway}/24 dev docker0{own}",
        )
        asyncio.run(self.fresh(NodeKernel(twin)).sync())
        self._compare(self.net.ns["here"], twin)
        twin.close()
        netns.remove(name)

    def _compare(self, here: netns.NetNs, twin: netns.NetNs) -> None:
        ours, theirs = observed(here), observed(twin)
        assert ours.state.device
        assert (ours.state.servers, ours.state.addresses, ours.state.members) == (
            theirs.state.servers,
            theirs.state.addresses,
            theirs.state.members,
        )
        extra = set[tuple[Frontend, RealServer]]()
        for frontend, reals in ours.state.reals.items():
            wanted = theirs.state.reals[frontend]
            assert {key: real for key, real in reals.items() if key in wanted} == wanted
            extra |= {(frontend, real) for key, real in reals.items() if key not in wanted}
        backend = self.proxier.backend
        assert isinstance(backend, IpvsBackend)
        for frontend, real in extra:
            assert frontend.protocol == "TCP", "nothing else has a grace"
            assert real.weight == 0
            assert frontend in backend.draining
        self.seen["draining"] += len(extra)
        assert written(here) == written(twin)


def observed(space: netns.NetNs) -> Observed:
    kernel = NodeIpvs(space, ip_sets("IPv4"))
    try:
        return asyncio.run(kernel.observe())
    finally:
        kernel.close()


def written(space: netns.NetNs) -> list[str]:
    """All that iptables has, without counters."""
    lines = kernel_iptables.save(space).splitlines()
    return [line.partition(" [")[0] for line in lines if not line.startswith("#")]


def test_any_history_ends_as_a_full_sync_and_breaks_nothing() -> None:
    seen = throwaway.run(lambda: histories(IpvsHistory, "ipvs", examples=6, phases=AS_FOUND), user=False)
    assert seen["TCP"] > 5
    assert seen["UDP"] > 5
    assert seen["killed"] > 0
