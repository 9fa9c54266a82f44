"""What lab 01 wants done."""

from __future__ import annotations

from netlab import Lab
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import fetch, found, note, ready_pod


@step(
    "Answer: the address of pod `two`, as container `shell` sees it",
    "回答：在容器 shell 里看到的 Pod two 的地址",
    hint="kubectl exec two -c shell -- ip addr show eth0; without the prefix length, under the key `address`",
    hint_zh="kubectl exec two -c shell -- ip addr show eth0；把不带前缀长度的地址记在键 address 下",
)
def the_address(lab: Lab) -> None:
    answer = note(lab, "address", "Which address has eth0 of pod two?", "Pod two 的 eth0 地址是什么？")
    if answer != found(lab, "pod", "two")["status"]["podIP"]:
        missing(f"{answer} is not the pod's address", f"{answer} 不是这个 Pod 的地址")


@step(
    "Pod `clash` shows what happens when two containers of a pod want the same port",
    "Pod clash 展示同一 Pod 里两个容器抢同一端口的结果",
    hint="copy manifests/two.yaml, name it clash, and let both containers run agnhost netexec --http-port=80",
    hint_zh="复制 manifests/two.yaml，改名为 clash，让两个容器都运行 agnhost netexec --http-port=80",
)
def the_clash(lab: Lab) -> None:
    pod = found(lab, "pod", "clash")
    states = pod["status"].get("containerStatuses", [])
    if len(states) < 2:
        missing("pod clash needs two containers", "Pod clash 需要两个容器")
    if sum(state["restartCount"] > 0 or not state["ready"] for state in states) != 1:
        missing(
            "exactly one container of clash must fail because the port is taken",
            "clash 中应当恰好有一个容器因端口被占用而失败",
        )


@step(
    "The web server of pod `two` was killed and came back in the same network namespace",
    "Pod two 的 web 服务被杀死后，在同一个网络命名空间里重启",
    hint="kubectl exec two -c web -- kill 1; then kubectl get pod two -o wide: RESTARTS counts, the IP stays",
    hint_zh="kubectl exec two -c web -- kill 1；再看 kubectl get pod two -o wide：RESTARTS 增加，IP 不变",
)
def the_restart(lab: Lab) -> None:
    pod = ready_pod(lab, "two")
    web = next(state for state in pod["status"]["containerStatuses"] if state["name"] == "web")
    if web["restartCount"] == 0:
        missing("container web of pod two has not been restarted yet", "Pod two 的容器 web 还没有重启过")
    if not fetch(lab, "two", f"http://{pod['status']['podIP']}/hostname"):
        missing("the web server does not answer after its restart", "重启后 web 服务没有应答")


@step(
    "Answer: which process has held the pod's namespace since it began",
    "回答：从一开始就持有 Pod 命名空间的是哪个进程",
    hint="klab exec node -- ps -ef; compare `ls -l /proc/PID/ns/net` of the processes; the key is `holder`",
    hint_zh="klab exec node -- ps -ef；比较各进程的 ls -l /proc/PID/ns/net；键名是 holder",
)
def the_holder(lab: Lab) -> None:
    answer = note(lab, "holder", "Which process holds the namespace?", "哪个进程持有该命名空间？")
    if answer.strip("/") != "pause":
        missing(f"not {answer}: it does nothing but wait", f"不是 {answer}：它什么也不做，只是等待")
