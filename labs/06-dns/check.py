"""What lab 06 wants done."""

from __future__ import annotations

from netlab import Lab
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import found, note
from netlab.lab.record import LabError


def _dig(lab: Lab, name: str, kind: str = "A") -> tuple[str, ...]:
    """The records that pod client gets for a complete name."""
    try:
        return lab.dns("pod/client", f"{name}.", kind).records
    except LabError:
        missing(f"the cluster's DNS does not answer for {name}", f"集群 DNS 没有应答 {name}")


@step(
    "Answer: the address of the server that pods ask for names",
    "回答：Pod 向哪个地址询问名字",
    hint="kubectl exec client -- cat /etc/resolv.conf; the key is `server`",
    hint_zh="kubectl exec client -- cat /etc/resolv.conf；键名是 server",
)
def the_server(lab: Lab) -> None:
    answer = note(lab, "server", "Which server do pods ask?", "Pod 向哪个服务器询问？")
    if answer != found(lab, "service", "kube-dns", "kube-system")["spec"]["clusterIP"]:
        missing(f"{answer} is not the address of Service kube-dns", f"{answer} 不是 Service kube-dns 的地址")


@step(
    "Answer: the shortest name by which `client` reaches Service web of namespace shop",
    "回答：client 访问命名空间 shop 里的 Service web 的最短名字",
    hint="`web` alone would be web.default: the search list begins with the pod's own namespace; the key is `short`",
    hint_zh="单写 web 会变成 web.default：搜索列表从 Pod 自己的命名空间开始；键名是 short",
)
def the_short_name(lab: Lab) -> None:
    answer = note(lab, "short", "What is the shortest name?", "最短的名字是什么？")
    if answer.rstrip(".") != "web.shop":
        missing(f"not {answer}", f"不是 {answer}")


@step(
    "Answer: how many questions `client` sends for the address of example.com before the answer is no",
    "回答：client 查询 example.com 的地址时，在得到“没有”之前发出几个问题（只数 A 记录）",
    hint="klab capture pod/client --filter 'udp port 53' while: kubectl exec client -- nslookup -type=A example.com; "
    "ndots:5 makes it try the search list first; count the names asked; the key is `questions`",
    hint_zh="运行 klab capture pod/client --filter 'udp port 53'，"
    "同时：kubectl exec client -- nslookup -type=A example.com；"
    "ndots:5 使它先试搜索列表；数一数问了几个名字；键名是 questions",
)
def the_questions(lab: Lab) -> None:
    answer = note(lab, "questions", "How many names are asked for?", "一共问了几个名字？")
    resolv = lab.exec("pod/client", "cat", "/etc/resolv.conf")
    search = next(line.split()[1:] for line in resolv.splitlines() if line.startswith("search"))
    if answer != str(len(search) + 1):
        missing(
            f"not {answer}: each name of the search list, and then the name itself",
            f"不是 {answer}：先是搜索列表里的每一个，再是名字本身",
        )


@step(
    "A headless Service `web-pods` in shop answers with the addresses of the pods themselves",
    "shop 里的无头 Service web-pods 直接回答各 Pod 的地址",
    hint="kubectl create service clusterip web-pods --clusterip=None --tcp=8080 -n shop, with the selector app=web",
    hint_zh="kubectl create service clusterip web-pods --clusterip=None --tcp=8080 -n shop，选择器为 app=web",
)
def the_headless_service(lab: Lab) -> None:
    if found(lab, "service", "web-pods", "shop")["spec"].get("clusterIP") != "None":
        missing("Service web-pods has a cluster IP: it is not headless", "Service web-pods 有集群 IP，不是无头服务")
    pods = lab.pods("app=web", namespace="shop")
    wanted = {pod["status"].get("podIP") for pod in pods}
    answers = set(_dig(lab, "web-pods.shop.svc.cluster.local"))
    if answers != wanted:
        missing(
            f"DNS says {sorted(answers)}; the pods have {sorted(wanted)}",
            f"DNS 回答 {sorted(answers)}；Pod 的地址是 {sorted(wanted)}",
        )


@step(
    "Answer: the port that DNS itself gives for port `http` of web in shop",
    "回答：DNS 自己给出的 shop 里 web 的 http 端口号",
    hint="kubectl exec client -- dig +short SRV _http._tcp.web.shop.svc.cluster.local; the key is `srv`",
    hint_zh="kubectl exec client -- dig +short SRV _http._tcp.web.shop.svc.cluster.local；键名是 srv",
)
def the_srv_record(lab: Lab) -> None:
    answer = note(lab, "srv", "Which port is in the SRV record?", "SRV 记录里的端口是多少？")
    records = _dig(lab, "_http._tcp.web.shop.svc.cluster.local", "SRV")
    if answer not in [record.split()[2] for record in records]:
        missing(f"not {answer}", f"不是 {answer}")


@step(
    "Service `shop` in the default namespace is only another name for web.shop",
    "默认命名空间里的 Service shop 只是 web.shop 的另一个名字",
    hint="kubectl create service externalname shop --external-name web.shop.svc.cluster.local",
    hint_zh="kubectl create service externalname shop --external-name web.shop.svc.cluster.local",
)
def the_alias(lab: Lab) -> None:
    if found(lab, "service", "shop")["spec"].get("type") != "ExternalName":
        missing("Service shop is not of type ExternalName", "Service shop 不是 ExternalName 类型")
    answers = _dig(lab, "shop.default.svc.cluster.local", "CNAME")
    if not any(answer.rstrip(".") == "web.shop.svc.cluster.local" for answer in answers):
        missing(f"DNS says {answers}", f"DNS 回答 {answers}")
