"""Random histories of Services, endpoints and restarts: what is in the netfilter equals a fresh full sync."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netlab.dataplane.services import NodeView
from netlab.node.proxy import Proxier
from netlab.node.proxy_fake import FakeNetfilter

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
        try:
            await self.proxier.sync()
        except Exception:
            self.proxier.restore_all()
            await self.proxier.sync()


class NftHistory(History):
    mode = "nftables"


TestIptables = History.TestCase
TestNftables = NftHistory.TestCase
TestIptables.settings = TestNftables.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
