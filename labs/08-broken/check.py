"""What lab 08 breaks, and what must work again. Whoever wants to find the faults should not read on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

from netlab import Lab
from netlab.api.types import Obj
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import found, is_ready, note, pods
from netlab.lab.record import LabError

# --- what is broken: one fault of each kind ------------------------------------------------------------------------


def _patch(lab: Lab, what: str, patch: Obj, namespace: str = "default") -> None:
    lab.kubectl("patch", what, "-n", namespace, "--type=merge", "-p", json.dumps(patch))


def _wrong_selector(lab: Lab) -> None:
    _patch(lab, "service/web", {"spec": {"selector": {"app": "wed"}}})


def _wrong_port(lab: Lab) -> None:
    _patch(lab, "service/web", {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8081}]}})


def _failing_probe(lab: Lab) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": 8081}, "periodSeconds": 1}  # agnhost answers 200 to any path
    path = "/spec/template/spec/containers/0/readinessProbe"
    change = json.dumps([{"op": "replace", "path": path, "value": probe}])
    _patch(lab, "deployment/web", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    lab.kubectl("patch", "deployment", "web", "--type=json", "-p", change)
    lab.kubectl("wait", "deployment/web", "--for=condition=Available=false", "--timeout=60s")


def _far_pod(lab: Lab) -> Obj:
    """The server on node2; the one that replaces it where the Deployment is just rolling."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pod in pods(lab, "app=web"):
            if pod["spec"].get("nodeName") == "node2" and pod["status"].get("podIP"):
                return pod
        time.sleep(0.2)
    raise LabError("no pod of Deployment web came to node2 within 60 s")


def _dropping_node(lab: Lab) -> None:
    pods_of = found(lab, "node", "node2")["spec"]["podCIDR"]
    lab.exec("node2", "iptables", "-I", "FORWARD", "1", "-d", pods_of, "-p", "tcp", "-j", "DROP")


def _unplugged_pod(lab: Lab) -> None:
    index = lab.exec(f"pod/{_far_pod(lab)['metadata']['name']}", "cat", "/sys/class/net/eth0/iflink").strip()
    links = json.loads(lab.exec("node2", "ip", "-j", "link"))
    name = next(link["ifname"] for link in links if str(link["ifindex"]) == index)
    lab.exec("node2", "ip", "link", "set", name, "nomaster")


def _wrong_neighbour(lab: Lab) -> None:
    address = _far_pod(lab)["status"]["podIP"]
    nobody = "02:00:00:00:be:ef"
    lab.exec("node2", "ip", "neigh", "replace", address, "lladdr", nobody, "dev", "docker0", "nud", "permanent")


def _no_dns_pods(lab: Lab) -> None:
    lab.kubectl("scale", "deployment", "coredns", "-n", "kube-system", "--replicas=0")


def _dns_without_endpoints(lab: Lab) -> None:
    _patch(lab, "service/kube-dns", {"spec": {"selector": {"k8s-app": "kubedns"}}}, "kube-system")


def _dns_port(lab: Lab) -> None:
    ports = [
        {"name": "dns", "port": 5353, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 5353, "protocol": "TCP", "targetPort": 53},
    ]
    _patch(lab, "service/kube-dns", {"spec": {"ports": ports}}, "kube-system")


Fault = Callable[[Lab], None]
OBJECTS: tuple[Fault, ...] = (_wrong_selector, _wrong_port, _failing_probe)
NODES: tuple[Fault, ...] = (_dropping_node, _unplugged_pod, _wrong_neighbour)
NAMES: tuple[Fault, ...] = (_no_dns_pods, _dns_without_endpoints, _dns_port)


def prepare(lab: Lab, seed: int) -> None:
    """Break three things: an object, a node's network, the names."""
    chance = random.Random(seed)
    for kind in (OBJECTS, NODES, NAMES):
        chance.choice(kind)(lab)


# --- what must work again ------------------------------------------------------------------------------------------


def _get(lab: Lab, url: str) -> str | None:
    try:
        return lab.exec("pod/client", "curl", "-s", "-m", "2", url)
    except LabError:
        return None


@step(
    "The name web.default resolves in pod `client`",
    "Pod client 能解析名字 web.default",
    hint="who answers names? kubectl get service,endpointslices,pods -n kube-system; klab why client web",
    hint_zh="谁来回答名字？kubectl get service,endpointslices,pods -n kube-system；klab why client web",
)
def the_name(lab: Lab) -> None:
    wanted = found(lab, "service", "web")["spec"]["clusterIP"]
    try:
        said = lab.dns("pod/client", "web.default.svc.cluster.local.", timeout=2).records
    except LabError:
        said = ()
    if wanted not in said:
        missing("the cluster's DNS does not answer", "集群 DNS 没有应答")


@step(
    "Service web has two ready endpoints, one on each node",
    "Service web 有两个就绪端点，每个节点一个",
    hint="kubectl describe service web; kubectl get pods --show-labels; kubectl describe pod …",
    hint_zh="kubectl describe service web；kubectl get pods --show-labels；kubectl describe pod …",
)
def the_endpoints(lab: Lab) -> None:
    ours = "kubernetes.io/service-name=web"
    slices = lab.api.list(("discovery.k8s.io/v1", "endpointslices"), "default", selector=ours)
    ready = [e for s in slices for e in s.get("endpoints") or () if e["conditions"].get("ready")]
    if {endpoint.get("nodeName") for endpoint in ready} != {"node1", "node2"}:
        missing(f"{len(ready)} ready endpoints", f"就绪端点有 {len(ready)} 个")


@step(
    "Each server answers `client` at its own address",
    "每个服务端都能用自己的地址回答 client",
    hint="call each pod's address; then look hop by hop: klab trace client ADDRESS:8080, klab exec node2 …",
    hint_zh="逐个访问 Pod 的地址；再逐跳查看：klab trace client 地址:8080，klab exec nodeN -- …",
)
def the_servers(lab: Lab) -> None:
    servers = [pod for pod in pods(lab, "app=web") if is_ready(pod)]
    if len(servers) < 2:
        missing(f"{len(servers)} servers are Ready", f"就绪的服务端有 {len(servers)} 个")
    for pod in servers:
        if _get(lab, f"http://{pod['status']['podIP']}:8080/hostname") is None:
            node = pod["spec"]["nodeName"]
            missing(f"the server on {node} does not answer client", f"{node} 上的服务端没有回答 client")


@step(
    "Twenty calls of http://web/ from `client` are all answered, by both servers",
    "client 对 http://web/ 的二十次调用全部有应答，两个服务端都有",
    hint="when the steps above are done, compare the Service's targetPort with the port that the container opens",
    hint_zh="上面几步完成之后，把 Service 的 targetPort 与容器打开的端口比一比",
)
def the_calls(lab: Lab) -> None:
    call = 'said=$(curl -s -m 4 http://web/hostname) && echo "$said"'  # a line at once: the calls are, too
    said = lab.exec("pod/client", "sh", "-c", f"seq 20 | xargs -P 20 -I {{}} sh -c '{call}'", check=False).split()
    if len(said) != 20 or len(set(said)) != 2:
        missing(
            f"{len(said)} of 20 answered, by {len(set(said))} servers",
            f"20 次中有 {len(said)} 次应答，来自 {len(set(said))} 个服务端",
        )


@step(
    "Answer: how many faults there were",
    "回答：一共有几个故障",
    hint="an object, a node, the names; the key is `faults`",
    hint_zh="一个在对象上，一个在节点上，一个在名字上；键名是 faults",
)
def the_number(lab: Lab) -> None:
    if note(lab, "faults", "How many faults were there?", "一共有几个故障？") not in ("3", "three", "三"):
        missing("there are more, or fewer", "还有别的，或者没有那么多")
