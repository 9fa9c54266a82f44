"""What lab 07 wants done."""

from __future__ import annotations

import json

from netlab import Lab
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import found, note
from netlab.lab.record import LabError


def _seen_as(lab: Lab, node: str) -> str | None:
    """The address as which the server sees the outside client that calls this node's port; None without an answer."""
    url = f"http://{lab.topology.node_ip(node)}:30080/clientip"
    try:
        return lab.exec("client", "timeout", "3", "busybox", "wget", "-qO-", url).rpartition(":")[0]
    except LabError:
        return None


def _bridge_address(lab: Lab, node: str, device: str) -> str:
    return str(json.loads(lab.exec(node, "ip", "-j", "-4", "addr", "show", device))[0]["addr_info"][0]["local"])


@step(
    "Answer: as whom the server saw the outside client that called node1",
    "回答：外部客户端访问 node1 时，服务端看到的是谁",
    hint="klab exec client -- busybox wget -qO- http://192.168.77.3:30080/clientip; the key is `through_node1`",
    hint_zh="klab exec client -- busybox wget -qO- http://192.168.77.3:30080/clientip；键名是 through_node1",
)
def through_another_node(lab: Lab) -> None:
    answer = note(lab, "through_node1", "Which address did the server see?", "服务端看到的是哪个地址？")
    if answer.partition(":")[0] != _bridge_address(lab, "node1", "flannel.1"):
        missing(
            f"not {answer}: ask again with externalTrafficPolicy Cluster",
            f"不是 {answer}：在 externalTrafficPolicy 为 Cluster 时再试",
        )


@step(
    "Answer: which chain of node1 gave the packet another source address",
    "回答：node1 的哪条链改掉了报文的源地址",
    hint="klab exec node1 -- iptables -t nat -S POSTROUTING, and follow the mark 0x4000; the key is `chain`",
    hint_zh="klab exec node1 -- iptables -t nat -S POSTROUTING，跟着标记 0x4000 走；键名是 chain",
)
def the_masquerade(lab: Lab) -> None:
    answer = note(lab, "chain", "Which chain masquerades?", "哪条链做地址伪装？")
    if answer.upper() != "KUBE-POSTROUTING":
        missing(f"not {answer}", f"不是 {answer}")


@step(
    "With externalTrafficPolicy Local the server on node2 sees the outside client itself",
    "externalTrafficPolicy 为 Local 时，node2 上的服务端看到外部客户端本人",
    hint='kubectl patch service web -p \'{"spec":{"externalTrafficPolicy":"Local"}}\'; then call node2',
    hint_zh='kubectl patch service web -p \'{"spec":{"externalTrafficPolicy":"Local"}}\'；再访问 node2',
)
def the_client_itself(lab: Lab) -> None:
    policy = found(lab, "service", "web")["spec"].get("externalTrafficPolicy")
    if policy != "Local":
        missing(f"Service web has externalTrafficPolicy {policy}", f"Service web 的 externalTrafficPolicy 是 {policy}")
    seen = _seen_as(lab, "node2")
    if seen != lab.topology.node_ip("client"):
        missing(f"the server sees {seen}", f"服务端看到的是 {seen}")


@step(
    "Answer: what the outside client gets from node1 now, where there is no endpoint: answer, refused, or silence",
    "回答：现在外部客户端访问没有端点的 node1 会怎样：answer、refused 还是 silence",
    hint="klab exec client -- timeout 3 busybox wget -qO- http://192.168.77.3:30080/clientip; the key is `without`",
    hint_zh="klab exec client -- timeout 3 busybox wget -qO- http://192.168.77.3:30080/clientip；键名是 without",
)
def without_an_endpoint(lab: Lab) -> None:
    answer = note(lab, "without", "What happens on node1?", "在 node1 上会怎样？")
    if answer.lower() != "silence":
        missing(
            f"not {answer}: a load balancer must not mistake node1 for a server that refuses",
            f"不是 {answer}：负载均衡器不应把 node1 当成拒绝连接的服务器",
        )
    if _seen_as(lab, "node1") is not None:
        missing("node1 still answers", "node1 仍然有应答")


@step(
    "Answer: as whom the outside world sees pod `client`",
    "回答：外部世界看到的 Pod client 是谁",
    hint="on the outside client: klab exec client -- busybox httpd -f -v -p 8000 & ; from the pod wget it; "
    "or klab capture client while the pod connects; the key is `outgoing`",
    hint_zh="在外部客户端上运行 klab exec client -- busybox httpd -f -v -p 8000，从 Pod 里 wget 它；"
    "或者在 Pod 连接时运行 klab capture client；键名是 outgoing",
)
def outgoing(lab: Lab) -> None:
    answer = note(lab, "outgoing", "Which source address arrives outside?", "到达外部的源地址是什么？")
    if answer != lab.topology.node_ip("node1"):
        missing(f"not {answer}: the outside has no route to pods", f"不是 {answer}：外部没有通往 Pod 的路由")
