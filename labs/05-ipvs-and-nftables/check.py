"""What lab 05 wants done."""

from __future__ import annotations

import json

from netlab import Lab
from netlab.lab.lessons import NotHere, Text, missing, step
from netlab.lab.lessons.look import fetch, found, note


def _modes(lab: Lab) -> dict[str, str]:
    """Node → the mode in which its Services are made."""
    return {node: str(state["mode"]) for node, state in json.loads(lab.klab("proxy-mode", "-o", "json")).items()}


def _lacks_ipvs(lab: Lab) -> bool:
    """Whether this kernel has no IPVS for this user."""
    checks = json.loads(lab.klab("doctor", "-o", "json", check=False))
    return not all(check["ok"] for check in checks if check["name"] in ("ip_vs", "dummy"))


@step(
    "node1 makes its Services with nftables, and no rule of iptables for `web` is left there",
    "node1 用 nftables 实现 Service，那里不再有 web 的 iptables 规则",
    hint="klab proxy-mode nftables --node node1; then klab exec node1 -- iptables-save -t nat",
    hint_zh="klab proxy-mode nftables --node node1；再看 klab exec node1 -- iptables-save -t nat",
)
def node1_by_nftables(lab: Lab) -> None:
    mode = _modes(lab)["node1"]
    if mode != "nftables":
        missing(f"node1's mode is {mode}", f"node1 的模式是 {mode}")
    if "default/web" in lab.exec("node1", "iptables-save", "-t", "nat"):
        missing("node1 still has iptables rules for web", "node1 上还有 web 的 iptables 规则")
    fetch(lab, "client", "http://web/hostname")


@step(
    "Answer: the nftables map in which a Service's address is looked up",
    "回答：在哪个 nftables 映射里查找 Service 的地址",
    hint="klab exec node1 -- nft list table ip kube-proxy; the map's elements are address . protocol . port : goto; "
    "the key is `map`",
    hint_zh="klab exec node1 -- nft list table ip kube-proxy；映射的元素是 地址 . 协议 . 端口 : goto；键名是 map",
)
def the_map(lab: Lab) -> None:
    answer = note(lab, "map", "Which map is it?", "是哪个映射？")
    address = found(lab, "service", "web")["spec"]["clusterIP"]
    tables = json.loads(lab.exec("node1", "nft", "-j", "list", "table", "ip", "kube-proxy"))["nftables"]
    maps = [entry["map"] for entry in tables if "map" in entry]
    holding = [found["name"] for found in maps if address in json.dumps(found.get("elem", []))]
    if answer.lstrip("@") not in holding:
        missing(f"{answer} does not hold the address of web", f"{answer} 里没有 web 的地址")


@step(
    "A second Service `api` for the same pods is in that map too",
    "给同样的 Pod 再建一个 Service api，它也在那个映射里",
    hint="kubectl expose deployment web --name=api --port=8000 --target-port=8080; then list the map again",
    hint_zh="kubectl expose deployment web --name=api --port=8000 --target-port=8080；再列一次映射",
)
def the_second_service(lab: Lab) -> None:
    address = found(lab, "service", "api")["spec"]["clusterIP"]
    if address not in lab.exec("node1", "nft", "list", "table", "ip", "kube-proxy"):
        missing("node1's table does not know Service api", "node1 的表里没有 Service api")
    fetch(lab, "client", "http://api:8000/hostname")


@step(
    "Answer: the device that holds all Service addresses in IPVS mode",
    "回答：IPVS 模式下，持有所有 Service 地址的设备",
    hint="klab explain svc/web --mode all sets the three side by side, also where this kernel has no IPVS; "
    "the key is `device`",
    hint_zh="klab explain svc/web --mode all 把三种模式并排列出，内核没有 IPVS 也可以；键名是 device",
)
def the_device(lab: Lab) -> None:
    answer = note(lab, "device", "Which device holds them?", "是哪个设备？")
    if answer != "kube-ipvs0":
        missing(f"not {answer}", f"不是 {answer}")


@step(
    "node2 makes its Services with IPVS",
    "node2 用 IPVS 实现 Service",
    hint="klab proxy-mode ipvs --node node2; then klab exec node2 -- ip addr show kube-ipvs0",
    hint_zh="klab proxy-mode ipvs --node node2；再看 klab exec node2 -- ip addr show kube-ipvs0",
)
def node2_by_ipvs(lab: Lab) -> None:
    mode = _modes(lab)["node2"]
    if mode == "ipvs":
        return
    if _lacks_ipvs(lab):
        raise NotHere(
            Text(
                "this kernel has no IPVS (klab doctor says how to get it); the Vagrant machine has one",
                "这个内核没有 IPVS（klab doctor 会说明怎样得到它）；Vagrant 虚拟机里有",
            )
        )
    missing(f"node2's mode is {mode}", f"node2 的模式是 {mode}")
