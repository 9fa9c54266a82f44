"""A link of the underlay breaks and heals, and the overlay's packets are what they should be."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.vxlan import VXLAN

from netlab.testing import assert_reachable, assert_unreachable

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: registry.k8s.io/e2e-test-images/agnhost:2.53, args: [netexec]}]
"""


@pytest.mark.topology("course")
def test_overlay_over_a_link_that_breaks(lab):
    lab.apply("---".join(POD % (name, name, node) for name, node in (("a", "node1"), ("b", "node2"))))
    lab.wait("pods", timeout=60)
    a, b = lab.pod("a"), lab.pod("b")

    with lab.node("node1").sniffing("eth0", filter="udp port 8472") as wire:
        assert_reachable(lab, a, f"http://{b.ip}:8080/hostname")
    packet = next(p for p in wire.packets() if p.haslayer(VXLAN))
    assert packet[VXLAN].vni == 1 and packet[UDP].dport == 8472
    assert (packet[IP].src, packet[IP].dst) == (lab.node("node1").ip, lab.node("node2").ip)
    inner = packet[VXLAN].payload[IP]
    assert (inner.src, inner.dst) == (a.ip, b.ip) and inner.ttl == 63

    with lab.fault("link-down", "node2"):
        assert_unreachable(lab, a, f"http://{b.ip}:8080/")
    assert_reachable(lab, a, f"http://{b.ip}:8080/", within=30)
