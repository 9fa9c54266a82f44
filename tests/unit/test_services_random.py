"""Random histories of Services, endpoints and restarts: what is in the netfilter equals a fresh full sync."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netlab.dataplane.ipvs.state import Real
from netlab.dataplane.services import NodeView
from netlab.node.proxy import Proxier
from netlab.node.proxy_fake import FakeNetfilter
from netlab.node.proxy_fake_ipvs import FakeIpvs
from netlab.node.proxy_ipvs import IpvsBackend

NAMES = st.sampled_from(["a", "b", "c"])
ADDRESSES = [("10.244.0.5", "node"), ("10.244.1.5", "other"), ("10.244.2.5", None)]


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    number = draw(st.integers(1, 3))
    ports = [
        {"name": f"p{index}", "port": 80 + index, "protocol": "TCP" if index < 2 else "UDP",
         **({"nodePort": 30000 + index} if kind != "ClusterIP" else {})}
        for index in range(number)
    ]  # fmt: skip
    spec: dict[str, Any] = {"type": kind, "clusterIP": draw(st.sampled_from(["10.96.0.7", "None"])), "ports": ports}
    spec["internalTrafficPolicy"] = draw(st.sampled_from(["Cluster", "Local"]))
    if kind != "ClusterIP":
        spec["externalTrafficPolicy"] = draw(st.sampled_from(["Cluster", "Local"]))
    if draw(st.booleans()):
        spec["sessionAffinity"] = "ClientIP"
    if draw(st.booleans()):
        spec["externalIPs"] = ["203.0.113.9"]
    if kind == "LoadBalancer" and draw(st.booleans()):
        spec["loadBalancerSourceRanges"] = ["192.168.0.0/16"]
    return spec


ENDPOINTS = st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans(), st.booleans(), st.booleans()), max_size=3)


class History(RuleBasedStateMachine):
    """Feeds one proxier; after each step its netfilter must equal that of a proxier that starts now."""

    mode = "iptables"

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.kernel = FakeNetfilter()
        self.restart()

    @rule()
    def restart(self) -> None:
        """The proxier was killed; another takes over what is there."""
        self.proxier = self.fresh(self.kernel)

    def fresh(self, kernel: FakeNetfilter) -> Proxier:
        made = Proxier("node", None, cluster_cidr="10.244.0.0/16", mode=self.mode, kernel=kernel)
        for (kind, name), obj in self.objects.items():
            (made.table.set_service if kind == "service" else made.table.set_slice)(name, obj)
        return made

    def put(self, kind: str, name: str, obj: dict[str, Any] | None) -> None:
        (self.proxier.table.set_service if kind == "service" else self.proxier.table.set_slice)(name, obj)
        if obj is None:
            self.objects.pop((kind, name), None)
        else:
            self.objects[kind, name] = obj

    @rule(name=NAMES, spec=specs(), vip=st.booleans())
    def service(self, name: str, spec: dict[str, Any], vip: bool) -> None:
        status = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}} if vip else {}
        self.put(
            "service", f"ns/{name}", {"metadata": {"namespace": "ns", "name": name}, "spec": spec, "status": status}
        )

    @rule(name=NAMES)
    def no_service(self, name: str) -> None:
        self.put("service", f"ns/{name}", None)

    @rule(name=NAMES, number=st.integers(1, 2), endpoints=ENDPOINTS)
    def endpoints(self, name: str, number: int, endpoints: list[Any]) -> None:
        items = [
            {"addresses": [address], "nodeName": node,
             "conditions": {"ready": ready, "serving": serving, "terminating": terminating}}
            for (address, node), ready, serving, terminating in endpoints
        ]  # fmt: skip
        labels = {"kubernetes.io/service-name": name}
        ports = [
            {"name": f"p{index}", "port": 8080 + index, "protocol": "TCP" if index < 2 else "UDP"} for index in range(3)
        ]
        meta = {"namespace": "ns", "name": f"{name}-{number}", "labels": labels}
        self.put(
            "slice",
            f"ns/{name}-{number}",
            {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": items},
        )

    @rule(name=NAMES, number=st.integers(1, 2))
    def no_endpoints(self, name: str, number: int) -> None:
        self.put("slice", f"ns/{name}-{number}", None)

    @rule(zone=st.sampled_from(["", "a"]))
    def move(self, zone: str) -> None:
        self.proxier.table.set_view(NodeView("node", zone))

    @rule()
    def failure(self) -> None:
        """One write is refused; the proxier then writes all."""
        self.kernel.fail_next = True

    @invariant()
    def equals_a_full_sync(self) -> None:
        other = FakeNetfilter()
        asyncio.run(self.settle())
        asyncio.run(self.fresh(other).sync())
        assert self.kernel.snapshot() == other.snapshot()
        assert self.kernel.nft_state == other.nft_state

    async def settle(self) -> None:
        for _ in range(2):  # a write of rules and one of servers may have been told to fail
            try:
                await self.proxier.sync()
                break
            except Exception:
                self.proxier.restore_all()
        else:
            await self.proxier.sync()


class NftHistory(History):
    mode = "nftables"


class IpvsHistory(History):
    """Real servers may carry connections; those that do stay until they do not, whatever happens to the endpoints."""

    mode = "ipvs"

    @property
    def ipvs(self) -> FakeIpvs:
        return self.kernel.ipvs("IPv4")

    @rule(which=st.integers(0, 50), connections=st.sampled_from([0, 3]))
    def traffic(self, which: int, connections: int) -> None:
        found = [(frontend, key) for frontend, reals in self.ipvs.state.reals.items() for key in reals]
        if found:
            self.ipvs.busy[found[which % len(found)]] = connections

    @rule()
    def a_minute(self) -> None:
        assert isinstance(self.proxier.backend, IpvsBackend)
        asyncio.run(self.proxier.backend.check_draining())

    @rule(local=st.sampled_from([("192.168.0.2",), ("10.244.0.1", "192.168.0.2", "203.0.113.9")]))
    def addresses(self, local: tuple[str, ...]) -> None:
        self.ipvs.local = local
        if asyncio.run(self.proxier.backend.attend()):
            self.proxier.restore_all()

    @rule()
    def half_done(self) -> None:
        self.ipvs.fail_next = True

    def fresh(self, kernel: FakeNetfilter) -> Proxier:
        kernel.ipvs("IPv4").local = self.ipvs.local
        made = super().fresh(kernel)
        asyncio.run(made.backend.prepare())
        return made

    @invariant()
    def equals_a_full_sync(self) -> None:
        other = FakeNetfilter()
        asyncio.run(self.settle())
        asyncio.run(self.fresh(other).sync())
        assert self.kernel.snapshot() == other.snapshot()
        assert isinstance(self.proxier.backend, IpvsBackend)
        ours, theirs = self.ipvs.state, other.ipvs("IPv4").state
        assert (ours.servers, ours.addresses, ours.members) == (theirs.servers, theirs.addresses, theirs.members)
        assert ours.device
        for frontend, reals in ours.reals.items():
            extra = {key: real for key, real in reals.items() if key not in theirs.reals[frontend]}
            assert {key: real for key, real in reals.items() if key not in extra} == theirs.reals[frontend]
            assert {real.weight for real in extra.values()} <= {0}
            assert not extra or frontend in self.proxier.backend.draining

    @invariant()
    def no_connection_is_cut(self) -> None:
        for step in self.ipvs.applied:
            if isinstance(step.thing, Real) and step.op == "del" and step.thing.frontend.protocol == "TCP":
                assert not self.ipvs.busy.get((step.thing.frontend, step.thing.server.key))
        self.ipvs.applied.clear()
        for key in [key for key in self.ipvs.busy if key[1] not in self.ipvs.state.reals.get(key[0], {})]:
            del self.ipvs.busy[key]


TestIptables = History.TestCase
TestNftables = NftHistory.TestCase
TestIpvs = IpvsHistory.TestCase
LIMITS = settings(max_examples=60, stateful_step_count=15, deadline=None)
TestIptables.settings = TestNftables.settings = TestIpvs.settings = LIMITS
