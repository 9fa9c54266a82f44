"""What lab 04 wants done."""

from __future__ import annotations

import re

from netlab import Lab
from netlab.lab.lessons import missing, step
from netlab.lab.lessons.look import counter, fetch, found, note, ready_pods


def _rules(lab: Lab) -> str:
    return lab.exec("node1", "iptables-save", "-c", "-t", "nat")


def _service_chain(rules: str) -> str:
    match = re.search(r"-A KUBE-SERVICES .*default/web.* -j (KUBE-SVC-\w+)", rules)
    if match is None:
        missing("node1 has no rule for Service web yet", "node1 上还没有 Service web 的规则")
    return match.group(1)


@step(
    "Service `web` leads port 80 to the three pods of Deployment `web`",
    "Service web 把 80 端口引到 Deployment web 的三个 Pod",
    hint="kubectl expose deployment web --port=80 --target-port=8080",
    hint_zh="kubectl expose deployment web --port=80 --target-port=8080",
)
def the_service(lab: Lab) -> None:
    service = found(lab, "service", "web")
    ports = [(port["port"], str(port.get("targetPort"))) for port in service["spec"]["ports"]]
    if not any(port == 80 for port, _ in ports):
        missing(f"Service web has ports {ports}, and 80 is wanted", f"Service web 的端口是 {ports}，需要 80")
    fetch(lab, "client", "http://web/")


@step(
    "Answer: the chain in which an endpoint of `web` is chosen",
    "回答：在哪条链里选择 web 的端点",
    hint="klab exec node1 -- iptables-save -t nat | grep default/web; it begins with KUBE-SVC-; the key is `chain`",
    hint_zh="klab exec node1 -- iptables-save -t nat | grep default/web；以 KUBE-SVC- 开头；键名是 chain",
)
def the_chain(lab: Lab) -> None:
    answer = note(lab, "chain", "Which chain chooses the endpoint?", "哪条链选择端点？")
    if answer != _service_chain(_rules(lab)):
        missing(f"{answer} is another chain", f"{answer} 是别的链")


@step(
    "Answer: the probability in the second of three rules",
    "回答：三条规则中第二条的概率",
    hint="klab exec node1 -- iptables -t nat -S KUBE-SVC-…; the key is `probability`, two decimals are enough",
    hint_zh="klab exec node1 -- iptables -t nat -S KUBE-SVC-…；键名是 probability，两位小数即可",
)
def the_probability(lab: Lab) -> None:
    answer = note(lab, "probability", "With which probability does rule two match?", "第二条规则以多大概率匹配？")
    try:
        value = float(answer.rstrip("%")) / (100 if answer.endswith("%") else 1)
    except ValueError:
        missing(f"{answer} is not a number", f"{answer} 不是数字")
    if abs(value - 0.5) > 0.005:
        missing(
            f"not {answer}: a third has gone to the first rule, and the second shares the rest with the third",
            f"不是 {answer}：第一条拿走三分之一，第二条与第三条平分剩下的",
        )


@step(
    "At least thirty calls have gone through that chain on node1, and every endpoint has had some",
    "node1 上至少有三十次调用经过这条链，且每个端点都分到了一些",
    hint="kubectl exec client -- sh -c 'for i in $(seq 30); do wget -qO- http://web/; done'",
    hint_zh="kubectl exec client -- sh -c 'for i in $(seq 30); do wget -qO- http://web/; done'",
)
def the_calls(lab: Lab) -> None:
    rules = _rules(lab)
    chain = _service_chain(rules)
    calls = counter(rules, f"-A KUBE-SERVICES .* -j {chain}$")
    if calls < 30:
        missing(f"{calls} calls so far", f"目前有 {calls} 次调用")
    endpoints = re.findall(rf"\[(\d+):\d+\] -A {chain} .*-j KUBE-SEP-", rules)
    if "0" in endpoints:
        missing("an endpoint has not been chosen yet", "有端点还没有被选中过")


@step(
    "A pod that is not ready gets no calls: one of five pods of `web` fails its probe, and four rules are left",
    "未就绪的 Pod 不会被调用：web 的五个 Pod 中有一个探针失败，只剩四条规则",
    hint="kubectl scale deployment web --replicas=5; a probe fails where its page is missing: "
    "kubectl exec POD -- rm /www/index.html",
    hint_zh="kubectl scale deployment web --replicas=5；页面没了探针就会失败：kubectl exec POD -- rm /www/index.html",
)
def the_unready(lab: Lab) -> None:
    replicas = found(lab, "deployment", "web")["spec"]["replicas"]
    ready = ready_pods(lab, "app=web", 1)
    if replicas != 5 or len(ready) != 4:
        missing(
            f"Deployment web wants {replicas} pods and {len(ready)} are Ready; 5 and 4 are wanted",
            f"Deployment web 要 {replicas} 个 Pod，其中 {len(ready)} 个 Ready；应为 5 和 4",
        )
    rules = _rules(lab)
    endpoints = re.findall(rf"-A {_service_chain(rules)} .*-j KUBE-SEP-", rules)
    if len(endpoints) != 4:
        missing(f"node1 has {len(endpoints)} endpoint rules", f"node1 上有 {len(endpoints)} 条端点规则")
