"""What lab 03 wants done."""

from __future__ import annotations

import json

from netlab import Lab
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import fetch, found, note, ready_pod


def _vtep(lab: Lab, node: str) -> str:
    link = json.loads(lab.exec(node, "ip", "-j", "link", "show", "flannel.1"))[0]
    return str(link["address"])


@step(
    "Answer: the MAC address of node2's flannel.1, which node1 knows without asking",
    "回答：node1 不用询问就知道的、node2 的 flannel.1 的 MAC 地址",
    hint="klab exec node1 -- ip neigh show dev flannel.1; or the annotation flannel.alpha.coreos.com/backend-data "
    "of node2; the key is `vtep`",
    hint_zh="klab exec node1 -- ip neigh show dev flannel.1；或者看 node2 的注解 "
    "flannel.alpha.coreos.com/backend-data；键名是 vtep",
)
def the_vtep(lab: Lab) -> None:
    answer = note(lab, "vtep", "Which MAC address has node2's flannel.1?", "node2 的 flannel.1 的 MAC 地址是什么？")
    if answer.lower() != _vtep(lab, "node2"):
        missing(f"{answer} is another device's address", f"{answer} 是别的设备的地址")


@step(
    "Answer: the destination of the outer header when `here` calls `there`",
    "回答：here 访问 there 时，外层报文头的目的地址",
    hint="klab capture node1:eth0 --filter 'udp port 8472' while here calls there; the key is `outer`",
    hint_zh="在 here 访问 there 时运行 klab capture node1:eth0 --filter 'udp port 8472'；键名是 outer",
)
def the_outer_header(lab: Lab) -> None:
    answer = note(lab, "outer", "Whereto does the outer packet go?", "外层报文发往哪里？")
    if answer != lab.topology.node_ip("node2"):
        missing(f"{answer} is not where the outer packet goes", f"{answer} 不是外层报文的目的地址")


@step(
    "Answer: how many bytes VXLAN adds, so that pods have that much less than the cable",
    "回答：VXLAN 增加了多少字节，因此 Pod 的 MTU 比网线小多少",
    hint="klab exec node1 -- ip link: eth0 and flannel.1 have different mtu; the key is `overhead`",
    hint_zh="klab exec node1 -- ip link：eth0 与 flannel.1 的 mtu 不同；键名是 overhead",
)
def the_overhead(lab: Lab) -> None:
    answer = note(lab, "overhead", "How many bytes does the encapsulation take?", "封装占用多少字节？")
    links = {link["ifname"]: link["mtu"] for link in json.loads(lab.exec("node1", "ip", "-j", "link"))}
    if answer != str(links["eth0"] - links["flannel.1"]):
        missing(f"not {answer}: compare the mtu of eth0 and flannel.1", f"不是 {answer}：比较 eth0 和 flannel.1 的 mtu")


@step(
    "node1 lost its FDB entry for node2 and has it again: `here` reaches `there`",
    "node1 丢失过指向 node2 的 FDB 表项，现已恢复：here 能访问 there",
    hint="klab exec node1 -- bridge fdb del MAC dev flannel.1 dst IP; see that wget fails; "
    "then bridge fdb replace MAC dev flannel.1 dst IP self permanent; write down who tells a node these entries, "
    "under the key `source`: kernel, switch or api",
    hint_zh="klab exec node1 -- bridge fdb del MAC dev flannel.1 dst IP；看到 wget 失败；"
    "再 bridge fdb replace MAC dev flannel.1 dst IP self permanent；"
    "把节点从哪里得知这些表项记在键 source 下：kernel、switch 或 api",
)
def the_lost_entry(lab: Lab) -> None:
    answer = note(lab, "source", "Who tells a node these entries?", "节点从哪里得知这些表项？")
    if answer.lower() not in ("api", "kubernetes", "flannel"):
        missing(f"not {answer}: nothing is learnt from packets here", f"不是 {answer}：这里没有什么是从报文学来的")
    address = ready_pod(lab, "there")["status"]["podIP"]
    fetch(lab, "here", f"http://{address}/hostname")
    entries = json.loads(lab.exec("node1", "bridge", "-j", "fdb", "show", "dev", "flannel.1"))
    if not any(e.get("mac") == _vtep(lab, "node2") and e.get("dst") == lab.topology.node_ip("node2") for e in entries):
        missing("node1 has no FDB entry for node2's flannel.1", "node1 没有指向 node2 的 flannel.1 的 FDB 表项")


@step(
    "Pod `mtu` proves that a packet of 1,450 bytes passes unfragmented, and one of 1,451 does not",
    "Pod mtu 证明 1450 字节的报文不分片就能通过，而 1451 字节的不能",
    hint="run an image with ping (netshoot) on node1; ping -M do -s 1422 passes, -s 1423 does not",
    hint_zh="在 node1 上运行带 ping 的镜像（netshoot）；ping -M do -s 1422 通过而 -s 1423 不通过：28 字节是报文头",
)
def the_largest_packet(lab: Lab) -> None:
    pod = found(lab, "pod", "mtu")
    said = lab.kubectl("logs", "mtu")
    if pod["spec"].get("nodeName") != "node1":
        missing("pod mtu must be on node1", "Pod mtu 应当在 node1 上")
    if " 0% packet loss" not in said or "100% packet loss" not in said:
        missing(
            "the log of pod mtu must hold one ping that passes and one that is lost",
            "Pod mtu 的日志里应当有一次成功的 ping 和一次失败的 ping",
        )
