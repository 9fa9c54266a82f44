"""What lab 02 wants done."""

from __future__ import annotations

import json

from netlab import Lab
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import fetch, note, ready_pod


def _bridge_ports(lab: Lab) -> dict[str, str]:
    """MAC address of a pod → the port of docker0 at which node1 has learnt it."""
    entries = json.loads(lab.exec("node1", "bridge", "-j", "fdb", "show", "br", "docker0"))
    return {entry["mac"]: entry["ifname"] for entry in entries if "permanent" not in str(entry.get("state", ""))}


def _mac(lab: Lab, pod: str) -> str:
    return lab.exec(f"pod/{pod}", "cat", "/sys/class/net/eth0/address").strip()


@step(
    "Answer: the port of docker0 behind which pod `right` lives",
    "回答：Pod right 接在 docker0 的哪个端口上",
    hint="kubectl exec right -- ip link show eth0 says eth0@ifN; on node1, ip link has the interface with index N",
    hint_zh="kubectl exec right -- ip link show eth0 会显示 eth0@ifN；在 node1 上用 ip link 找编号为 N 的接口",
)
def the_port(lab: Lab) -> None:
    answer = note(lab, "port", "Which veth on node1 belongs to pod right?", "node1 上哪个 veth 属于 Pod right？")
    index = lab.exec("pod/right", "cat", "/sys/class/net/eth0/iflink").strip()
    links = json.loads(lab.exec("node1", "ip", "-j", "link", "show", "master", "docker0"))
    names = [link["ifname"] for link in links if str(link["ifindex"]) == index]
    if answer not in names:
        missing(f"{answer} is not the other end of right's eth0", f"{answer} 不是 right 的 eth0 的另一端")


@step(
    "Answer: the default gateway of the pods, and what it is on the node",
    "回答：Pod 的默认网关，以及它在节点上是什么",
    hint="kubectl exec left -- ip route; klab exec node1 -- ip addr show docker0; the key is `gateway`",
    hint_zh="kubectl exec left -- ip route；klab exec node1 -- ip addr show docker0；键名是 gateway",
)
def the_gateway(lab: Lab) -> None:
    answer = note(lab, "gateway", "Which address is the default gateway?", "默认网关是哪个地址？")
    addresses = json.loads(lab.exec("node1", "ip", "-j", "-4", "addr", "show", "docker0"))[0]["addr_info"]
    if answer not in [address["local"] for address in addresses]:
        missing(f"{answer} is not an address of docker0", f"{answer} 不是 docker0 的地址")


@step(
    "docker0 has learnt where `left` and `right` are",
    "docker0 已经学到 left 和 right 在哪个端口",
    hint="let them talk: kubectl exec left -- wget -qO- http://ADDRESS-OF-RIGHT/; "
    "then klab exec node1 -- bridge fdb show br docker0",
    hint_zh="让它们通信：kubectl exec left -- wget -qO- http://RIGHT的地址/；"
    "再看 klab exec node1 -- bridge fdb show br docker0",
)
def the_learning(lab: Lab) -> None:
    learnt = _bridge_ports(lab)
    for pod in ("left", "right"):
        if _mac(lab, pod) not in learnt:
            missing(f"docker0 has not seen a frame of {pod} lately", f"docker0 最近没有见过来自 {pod} 的帧")


@step(
    "Pod `left` lost its place on the switch and got it back: it reaches `right` again",
    "Pod left 曾被从交换机上拔下再插回：它又能访问 right",
    hint="klab exec node1 -- ip link set VETH nomaster, try wget, then ip link set VETH master docker0; "
    "write down what left's neighbour entry of right said meanwhile, under the key `neighbour`",
    hint_zh="klab exec node1 -- ip link set VETH nomaster，试一下 wget，再 ip link set VETH master docker0；"
    "把当时 left 里 right 的邻居表项状态记在键 neighbour 下",
)
def the_unplugging(lab: Lab) -> None:
    answer = note(lab, "neighbour", "What did `ip neigh` say?", "ip neigh 显示了什么状态？")
    if answer.upper() not in ("FAILED", "INCOMPLETE", "STALE", "DELAY", "PROBE"):
        missing(f"{answer} is not the state of an entry nobody answers for", f"{answer} 不是无人应答时的表项状态")
    address = ready_pod(lab, "right")["status"]["podIP"]
    fetch(lab, "left", f"http://{address}/hostname")
