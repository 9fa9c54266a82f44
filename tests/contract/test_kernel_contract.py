"""One suite on the fake kernel and on the real one: what plans do, and what is refused.

On the real kernel every test runs in namespaces of its own, in a forked child (see netlab.kernel.throwaway).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import pytest

from netlab.dataplane.diff import NOTHING, Owned, diff
from netlab.dataplane.model import Address, Fdb, Hop, Link, Neighbour, NodeState, Plan, Route, Step, Sysctl, Vxlan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.dataplane.overlay import node_network, overlay_owned
from netlab.dataplane.pods import pod_gone, pod_network
from netlab.kernel import netns, throwaway
from netlab.kernel.apply import PartlyApplied, apply
from netlab.kernel.fake import FakeKernel
from netlab.kernel.observe import observe

Check = Callable[["Kernel"], None]
CLUSTER = "10.244.0.0/16"
NODES = [NodeNet(f"node{i}", f"10.244.{i}.0/24", f"192.168.0.{i}") for i in (1, 2, 3)]
UNDERLAY = [Link("eth0", "veth", mac="02:00:00:00:00:01", peer=("", "wire")), Address("eth0", "192.168.0.1/24")]


class RealKernel:
    """The real kernel with the fake's calls."""

    def __init__(self) -> None:
        self.spaces: dict[str, netns.NetNs] = {}

    def create(self, name: str) -> None:
        self.spaces[name] = netns.create(name)

    def remove(self, name: str) -> None:
        self.spaces.pop(name).close()
        netns.remove(name)

    def apply(self, name: str, plan: Plan) -> None:
        apply(self.spaces[name], plan)

    def observe(self, name: str, *, sysctls: Iterable[str] = ()) -> NodeState:
        return observe(self.spaces[name], sysctls=sysctls)


Kernel = FakeKernel | RealKernel


@pytest.fixture(params=["fake", "real"])
def on_kernel(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """Runs a check on a kernel with one node namespace, "n"."""
    if request.param == "fake":
        return lambda check: _prepared(FakeKernel, check)
    return lambda check: throwaway.run(partial(_prepared, RealKernel, check))


def _prepared(kind: type[FakeKernel] | type[RealKernel], check: Check) -> None:
    kernel = kind()
    kernel.create("n")
    check(kernel)


def add(kernel: Kernel, *objects: object, name: str = "n") -> None:
    kernel.apply(name, Plan.adding(objects, "test"))  # type: ignore[arg-type]


def delete(kernel: Kernel, *objects: object) -> None:
    kernel.apply("n", Plan(tuple(Step("del", obj, "test") for obj in objects)))  # type: ignore[arg-type]


def refused(kernel: Kernel, *objects: object) -> list[int | None]:
    with pytest.raises(PartlyApplied) as problem:
        add(kernel, *objects)
    return [failure.errno for _, failure in problem.value.failures]


def settle(kernel: Kernel, wanted: NodeState, owned: Owned = NOTHING) -> Plan:
    """Apply what is missing; the plan that was needed."""
    plan = diff(kernel.observe("n", sysctls=[s.name for s in wanted.sysctls]), wanted, owned)
    kernel.apply("n", plan)
    return plan


def test_a_new_namespace_has_only_a_loopback_device_that_is_down(on_kernel):
    def check(kernel: Kernel) -> None:
        state = kernel.observe("n")
        assert [(link.kind, link.up) for link in state.links if link.name == "lo"] == [("loopback", False)]
        assert not state.addresses and not state.routes and not state.neighbours and not state.fdb

    on_kernel(check)


def test_what_was_added_is_observed_as_it_was_asked_for(on_kernel):
    def check(kernel: Kernel) -> None:
        wanted = (
            *UNDERLAY,
            Link("br0", "bridge", mac="02:00:00:00:00:02", mtu=1400, stp=False),
            Link("vx0", "vxlan", mac="02:00:00:00:00:03", mtu=1400, vxlan=Vxlan(7, "192.168.0.1", "eth0", 4789)),
            Address("br0", "10.0.0.1/24"),
            Address("vx0", "10.1.0.0/32"),
            Route("10.2.0.0/16", "eth0", via="192.168.0.9"),
            Route("10.3.0.0/16", "vx0", via="10.3.0.0", onlink=True),
            Route("10.4.0.0/16", hops=(Hop("192.168.0.7", "eth0"), Hop("192.168.0.8", "eth0"))),
            Route("10.5.0.0/16", kind="unreachable"),
            Neighbour("vx0", "10.3.0.0", "02:00:00:00:00:04"),
            Fdb("vx0", "02:00:00:00:00:04", "192.168.0.2"),
            Sysctl("net.ipv4.ip_forward", "1"),
        )
        add(kernel, *wanted)
        state = kernel.observe("n", sysctls=["net.ipv4.ip_forward"])
        assert not diff(state, NodeState().merge(_state(wanted)))
        assert set(state.routes) >= {Route("10.0.0.0/24", "br0", src="10.0.0.1", scope="link", protocol="kernel")}
        assert state.link("wire") is not None

    on_kernel(check)


def _state(objects: tuple[object, ...]) -> NodeState:
    def of(kind: type) -> tuple:
        return tuple(obj for obj in objects if isinstance(obj, kind))

    return NodeState(of(Link), of(Address), of(Route), of(Neighbour), of(Fdb), of(Sysctl))


REFUSALS = {
    "a name twice": ((Link("br0", "bridge"), Link("br0", "bridge")), [errno.EEXIST]),
    "a name too long": ((Link("a-name-of-16-chr", "bridge"),), [errno.ERANGE]),
    "a device from nothing": ((Link("eth7", "device"),), [errno.EOPNOTSUPP]),
    "a master that is missing": ((Link("v0", "veth", peer=("", "v1"), master="br0"),), [errno.ENODEV]),
    "a master that is no bridge": ((*UNDERLAY, Link("v0", "veth", peer=("", "v1"), master="eth0")), [errno.EOPNOTSUPP]),
    "a vxlan on a missing device": ((Link("vx0", "vxlan", vxlan=Vxlan(1, "10.0.0.1", "eth9")),), [errno.ENODEV]),
    "an address on a missing device": ((Address("eth9", "10.0.0.1/24"),), [errno.ENODEV]),
    "a gateway that is not connected": (
        (*UNDERLAY, Route("10.0.0.0/8", "eth0", via="172.16.0.1")),
        [errno.ENETUNREACH],
    ),
    "a route by a device that is down": (
        (Link("v0", "veth", peer=("", "v1"), up=False), Route("10.0.0.0/8", "v0")),
        [errno.ENETDOWN],
    ),
    "a second route to one destination": (
        (*UNDERLAY, Route("10.0.0.0/8", "eth0", via="192.168.0.2"), Route("10.0.0.0/8", "eth0", via="192.168.0.3")),
        [errno.EEXIST],
    ),
    "a peer's name that is taken": ((*UNDERLAY, Link("v0", "veth", peer=("", "eth0"))), [errno.EEXIST]),
    "a sysctl that is not there": ((Sysctl("net.ipv4.no_such_thing", "1"),), [errno.ENOENT]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(on_kernel, case):
    objects, expected = REFUSALS[case]

    def check(kernel: Kernel) -> None:
        if isinstance(kernel, FakeKernel):
            kernel._lacks |= {"net.ipv4.no_such_thing"}
        assert refused(kernel, *objects) == expected

    on_kernel(check)


def test_the_steps_behind_a_refused_one_are_done_and_the_error_names_the_command(on_kernel):
    def check(kernel: Kernel) -> None:
        with pytest.raises(PartlyApplied, match=r"ip addr add 10.0.0.1/24 dev nowhere"):
            add(kernel, Address("nowhere", "10.0.0.1/24"), Link("br0", "bridge"))
        assert kernel.observe("n").link("br0")

    on_kernel(check)


def test_adding_again_is_no_error_for_addresses_neighbours_and_forwarding_entries(on_kernel):
    def check(kernel: Kernel) -> None:
        vx = Link("vx0", "vxlan", vxlan=Vxlan(1, "192.168.0.1", "eth0"))
        again = (
            Address("eth0", "192.168.0.1/24"),
            Neighbour("eth0", "192.168.0.2", "02:00:00:00:00:09"),
            Fdb("vx0", "02:00:00:00:00:09", "192.168.0.2"),
            Sysctl("net.bridge.no_such_thing", "1", optional=True),
        )
        if isinstance(kernel, FakeKernel):
            kernel._lacks |= {"net.bridge.no_such_thing"}
        add(kernel, *UNDERLAY, vx, *again)
        add(kernel, *again)
        assert len(kernel.observe("n").neighbours) == 1

    on_kernel(check)


def test_deleting_what_is_gone_is_no_error(on_kernel):
    def check(kernel: Kernel) -> None:
        add(kernel, *UNDERLAY)
        gone = (
            Link("br0"),
            Address("eth0", "10.9.9.9/24"),
            Address("eth9", "10.9.9.9/24"),
            Route("10.0.0.0/8", "eth0", via="192.168.0.2"),
            Neighbour("eth0", "192.168.0.77", "02:00:00:00:00:01"),
        )
        delete(kernel, *gone)

    on_kernel(check)


def test_a_device_takes_with_it_what_was_on_it(on_kernel):
    def check(kernel: Kernel) -> None:
        add(
            kernel,
            Link("br0", "bridge"),
            Link("v0", "veth", peer=("", "v1"), master="br0"),
            Address("br0", "10.0.0.1/24"),
            Route("10.1.0.0/24", "br0", via="10.0.0.2"),
            Neighbour("br0", "10.0.0.2", "02:00:00:00:00:02"),
        )
        delete(kernel, Link("br0"))
        state = kernel.observe("n")
        assert not state.addresses and not state.routes and not state.neighbours
        port = state.link("v0")
        assert port is not None and port.master is None
        delete(kernel, Link("v1"))
        assert kernel.observe("n").link("v0") is None

    on_kernel(check)


def test_a_device_that_goes_down_loses_its_routes_and_keeps_its_addresses(on_kernel):
    def check(kernel: Kernel) -> None:
        add(kernel, *UNDERLAY, Route("10.0.0.0/8", "eth0", via="192.168.0.2"))
        up = Link("eth0", "veth", mac="02:00:00:00:00:01")
        down = Link("eth0", "veth", mac="02:00:00:00:00:01", up=False)
        kernel.apply("n", Plan((Step("change", down, "cable", old=up),)))
        state = kernel.observe("n")
        assert not state.routes and len(state.addresses) == 1
        kernel.apply("n", Plan((Step("change", up, "cable", old=down),)))
        assert [route.dst for route in kernel.observe("n").routes] == ["192.168.0.0/24"]

    on_kernel(check)


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_an_overlay_converges_and_then_nothing_is_left_to_do(on_kernel, backend):
    def check(kernel: Kernel) -> None:
        nodes = [replace(node, backend=backend) for node in NODES]
        add(kernel, *UNDERLAY)
        owned = overlay_owned(CLUSTER)
        everyone = node_network(nodes[0], nodes, nf_call_iptables=False)
        assert settle(kernel, everyone, owned)
        assert not settle(kernel, everyone, owned)
        fewer = node_network(nodes[0], nodes[:2], nf_call_iptables=False)
        plan = settle(kernel, fewer, owned)
        assert {step.op for step in plan.steps} == {"del"} and "192.168.0.2" not in str(plan)
        assert not settle(kernel, fewer, owned)
        assert settle(kernel, everyone, owned) and not settle(kernel, everyone, owned)

    on_kernel(check)


def test_a_node_with_a_new_address_gets_a_new_vxlan_device_and_all_that_was_on_it(on_kernel):
    def check(kernel: Kernel) -> None:
        add(kernel, *UNDERLAY)
        owned = overlay_owned(CLUSTER)
        settle(kernel, node_network(NODES[0], NODES, nf_call_iptables=False), owned)
        moved = replace(NODES[0], node_ip="192.168.0.99")
        wanted = node_network(moved, NODES, nf_call_iptables=False)
        plan = settle(kernel, wanted, owned)
        assert "cannot be changed" in str(plan)
        assert not settle(kernel, wanted, owned)

    on_kernel(check)


def test_only_what_is_owned_is_deleted(on_kernel):
    def check(kernel: Kernel) -> None:
        add(kernel, *UNDERLAY, Route("10.9.0.0/16", "eth0", via="192.168.0.9"))
        owned = overlay_owned(CLUSTER)
        settle(kernel, node_network(NODES[0], NODES, nf_call_iptables=False), owned)
        add(kernel, Link("br9", "bridge"), Address("br9", "172.17.0.1/16"))
        settle(kernel, NodeState(), owned)
        state = kernel.observe("n")
        assert {link.name for link in state.links} >= {"eth0", "wire", "br9", "lo"}
        assert state.link("docker0") is None and state.link("flannel.1") is None
        assert {route.dst for route in state.routes} >= {"10.9.0.0/16"}
        assert not {route.dst for route in state.routes if route.dst.startswith("10.244.")}

    on_kernel(check)


def test_a_pod_is_attached_and_detached_by_its_plans(on_kernel):
    def check(kernel: Kernel) -> None:
        pod = PodNet.of("0b1f7f0e-uid", "10.244.1.7", NODES[0])
        kernel.create(pod.netns)
        add(kernel, *node_network(NODES[0], [], nf_call_iptables=False).links[:1], Address("docker0", "10.244.1.1/24"))
        on_node, in_pod = pod_network(pod)
        kernel.apply("n", on_node)
        kernel.apply(pod.netns, in_pod)
        inside = kernel.observe(pod.netns)
        assert next(route for route in inside.routes if route.dst == "default").via == "10.244.1.1"
        assert inside.link("eth0").mac == "02:42:0a:f4:01:07" and inside.link("eth0").mtu == 1450
        port = kernel.observe("n").link(pod.ifname)
        assert port.master == "docker0" and port.hairpin and port.up
        kernel.apply("n", pod_gone(pod))
        assert kernel.observe(pod.netns).link("eth0") is None
        assert not kernel.observe("n").neighbours

    on_kernel(check)
