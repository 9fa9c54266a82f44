"""What a node's plan says, word for word: the commands that Flannel's and Docker's set-up amounts to."""

from __future__ import annotations

from dataclasses import replace

from netlab.dataplane.diff import diff
from netlab.dataplane.masquerade import forward_rules, masquerade_rules, restore_text
from netlab.dataplane.model import NodeState, Plan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.dataplane.overlay import node_network, overlay_owned
from netlab.dataplane.pods import pod_gone, pod_network
from netlab.dataplane.render import dry_run, plan_text
from netlab.dataplane.shaping import Shaping

NODES = [NodeNet(f"node{i}", f"10.244.{i}.0/24", f"192.168.77.{i + 1}") for i in (1, 2, 3)]
OWNED = overlay_owned("10.244.0.0/16")

VXLAN = """\
sysctl -w net.ipv4.ip_forward=1  # missing
sysctl -w net.bridge.bridge-nf-call-iptables=1  # missing
ip link add docker0 address 02:42:0a:f4:01:01 mtu 1450 type bridge stp_state 0  # missing
ip link set docker0 up
ip link add flannel.1 address {mac1} mtu 1450 type vxlan id 1 local 192.168.77.2 dev eth0 dstport 8472 nolearning\
  # missing
ip link set flannel.1 up
ip addr add 10.244.1.1/24 dev docker0  # missing
ip addr add 10.244.1.0/32 dev flannel.1  # missing
ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink  # missing
ip route add 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink  # missing
ip neigh add 10.244.2.0 lladdr {mac2} dev flannel.1 nud permanent  # missing
ip neigh add 10.244.3.0 lladdr {mac3} dev flannel.1 nud permanent  # missing
bridge fdb add {mac2} dev flannel.1 dst 192.168.77.3 self permanent  # missing
bridge fdb add {mac3} dev flannel.1 dst 192.168.77.4 self permanent  # missing"""


def test_a_node_joins_a_vxlan_overlay():
    macs = {f"mac{i}": node.mac for i, node in enumerate(NODES, 1)}
    assert plan_text(diff(NodeState(), node_network(NODES[0], NODES), OWNED)) == VXLAN.format(**macs)


HOST_GW = """\
sysctl -w net.ipv4.ip_forward=1
sysctl -w net.bridge.bridge-nf-call-iptables=1
ip link add docker0 address 02:42:0a:f4:01:01 mtu 1500 type bridge stp_state 0
ip link set docker0 up
ip addr add 10.244.1.1/24 dev docker0
ip route add 10.244.2.0/24 via 192.168.77.3 dev eth0
ip route add 10.244.3.0/24 via 192.168.77.4 dev eth0"""


def test_a_node_joins_a_host_gw_overlay():
    nodes = [replace(node, backend="host-gw") for node in NODES]
    assert plan_text(diff(NodeState(), node_network(nodes[0], nodes), OWNED), reasons=False) == HOST_GW


LEAVES = """\
bridge fdb del {mac} dev flannel.1 dst 192.168.77.4  # ours, and no longer wanted
ip neigh del 10.244.3.0 dev flannel.1  # ours, and no longer wanted
ip route del 10.244.3.0/24 via 10.244.3.0 dev flannel.1  # ours, and no longer wanted"""


def test_a_node_that_leaves_is_taken_out_of_the_others_tables_and_nothing_else_is_touched():
    before, after = node_network(NODES[0], NODES), node_network(NODES[0], NODES[:2])
    assert plan_text(diff(before, after, OWNED)) == LEAVES.format(mac=NODES[2].mac)


def test_a_node_that_comes_back_with_another_vtep_and_address_is_corrected_in_place():
    changed = replace(NODES[2], node_ip="192.168.77.40", vtep_mac="02:00:00:00:00:07")
    plan = diff(node_network(NODES[0], NODES), node_network(NODES[0], [*NODES[:2], changed]), OWNED)
    assert plan_text(plan).splitlines() == [
        f"bridge fdb del {NODES[2].mac} dev flannel.1 dst 192.168.77.4  # ours, and no longer wanted",
        "ip neigh replace 10.244.3.0 lladdr 02:00:00:00:00:07 dev flannel.1 nud permanent"
        f"  # mac is {NODES[2].mac}, should be 02:00:00:00:00:07",
        "bridge fdb add 02:00:00:00:00:07 dev flannel.1 dst 192.168.77.40 self permanent  # missing",
    ]


def test_a_wrong_mtu_is_changed_and_a_wrong_vni_is_rebuilt_with_all_that_hangs_on_it():
    wanted = node_network(NODES[0], NODES[:2])
    bridge, vxlan = wanted.links
    observed = replace(
        wanted, links=(replace(bridge, mtu=1500, up=False), replace(vxlan, vxlan=replace(vxlan.vxlan, vni=9)))
    )
    text = plan_text(diff(observed, wanted, OWNED))
    assert text.splitlines()[:2] == [
        "ip link del flannel.1  # is (id 9 local 192.168.77.2 dev eth0 dstport 8472 nolearning), "
        "should be (id 1 local 192.168.77.2 dev eth0 dstport 8472 nolearning), and these cannot be changed",
        "ip link set docker0 mtu 1450 up  # mtu is 1500, should be 1450, up is False, should be True",
    ]
    rebuilt = [line.partition(" flannel.1")[0] for line in text.splitlines()[2:] if "flannel.1" in line]
    assert len(rebuilt) == 6  # the link (two commands), its address, the peer's route, neighbour and forwarding entry


POD = """\
ip link add vethdbe5b2c6 mtu 1450 type veth peer name eth0 netns cni-0b1f7f0ea2c4  # pod {uid} has address 10.244.1.7
ip link set vethdbe5b2c6 master docker0 up
bridge link set dev vethdbe5b2c6 hairpin on
ip neigh add 10.244.1.7 lladdr 02:42:0a:f4:01:07 dev docker0 nud permanent  # pod {uid} has address 10.244.1.7
ip link set lo up  # devices of a new namespace are down
ip link set eth0 address 02:42:0a:f4:01:07 mtu 1450 up  # devices of a new namespace are down
ip addr add 10.244.1.7/24 dev eth0  # pod {uid} has address 10.244.1.7
ip route add default via 10.244.1.1 dev eth0  # pod {uid} has address 10.244.1.7
ip neigh add 10.244.1.1 lladdr 02:42:0a:f4:01:01 dev eth0 nud permanent  # pod {uid} has address 10.244.1.7"""


def test_a_pod_is_attached():
    uid = "0b1f7f0e-a2c4-4f6e-9a51-1f0f3d6f7a10"
    pod = PodNet.of(uid, "10.244.1.7", NODES[0])
    on_node, in_pod = pod_network(pod)
    text = plan_text(on_node + in_pod).replace(pod.ifname, "vethdbe5b2c6")
    assert text == POD.format(uid=uid)
    assert plan_text(pod_gone(pod), reasons=False).splitlines() == [
        "ip neigh del 10.244.1.7 dev docker0",
        f"ip link del {pod.ifname}",
    ]


MASQUERADE = """\
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""


def test_flannels_chains():
    rules = (*masquerade_rules("10.244.1.0/24", "10.244.0.0/16"), *forward_rules("10.244.0.0/16"))
    assert restore_text(rules) == MASQUERADE
    present = frozenset(MASQUERADE.splitlines())
    again = restore_text(rules, present=present)
    assert "POSTROUTING -m" not in again and "-A FORWARD" not in again
    assert again.count("-A FLANNEL-POSTRTG") == 6
    plain = restore_text(masquerade_rules("10.244.1.0/24", "10.244.0.0/16", random_fully=False))
    assert "--random-fully" not in plain and plain.count("MASQUERADE") == 2


SHAPING = {
    Shaping("eth0", bandwidth_bps=10_000_000): (
        "tc qdisc replace dev eth0 root handle 5: tbf rate 10000000bit burst 15140 limit 166540",
    ),
    Shaping("eth0", delay_s=0.02, jitter_s=0.002, loss=0.01): (
        "tc qdisc replace dev eth0 root handle 10: netem limit 27245 delay 20ms 2ms loss 1%",
    ),
    Shaping("eth0", 10**9, delay_s=0.005): (
        "tc qdisc replace dev eth0 root handle 5: tbf rate 1000000000bit burst 125000 limit 6375000",
        "tc qdisc replace dev eth0 parent 5:1 handle 10: netem limit 1000 delay 5ms",
    ),
    Shaping("eth0", loss=0.001): ("tc qdisc replace dev eth0 root handle 10: netem limit 1000 loss 0.1%",),
    Shaping("eth0"): (),
}


def test_shaping():
    assert {rule: rule.commands() for rule in SHAPING} == SHAPING


def test_a_dry_run_leaves_out_the_nodes_that_have_nothing_to_do():
    plan = Plan.adding(node_network(NODES[0], [], nf_call_iptables=False).addresses[:1], "missing")
    assert dry_run({"node1": plan, "node2": Plan()}) == ("# node1\nip addr add 10.244.1.1/24 dev docker0  # missing\n")
