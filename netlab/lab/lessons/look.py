"""What checks ask a lab: small questions whose failure is a sentence for the learner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.lab.lessons.model import missing
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.lab.facade import Lab


def found(lab: Lab, kind: str, name: str, namespace: str = "default") -> Obj:
    """The object; the step is missing where there is none."""
    resource, _, namespaced = lab.api.named(kind)
    obj = lab.api.find(resource, name, namespace if namespaced else None)
    if obj is None:
        missing(f"there is no {kind} '{name}' in namespace {namespace}", f"命名空间 {namespace} 里没有 {kind} “{name}”")
    return obj


def ready_pod(lab: Lab, name: str, namespace: str = "default") -> Obj:
    """The pod, Ready."""
    pod = found(lab, "pod", name, namespace)
    if not is_ready(pod):
        phase = pod["status"].get("phase", "Unknown")
        missing(f"pod '{name}' is {phase} and not Ready", f"Pod “{name}” 处于 {phase}，尚未 Ready")
    return pod


def is_ready(obj: Obj) -> bool:
    conditions = obj.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def pods(lab: Lab, selector: str, namespace: str = "default") -> list[Obj]:
    """Pods by label, the ones that are being deleted left out."""
    return [pod for pod in lab.pods(selector, namespace=namespace) if "deletionTimestamp" not in pod["metadata"]]


def ready_pods(lab: Lab, selector: str, at_least: int) -> list[Obj]:
    """That many Ready pods with the label."""
    ready = [pod for pod in pods(lab, selector) if is_ready(pod)]
    if len(ready) < at_least:
        missing(
            f"{len(ready)} Ready pods with label {selector}, {at_least} are wanted",
            f"带标签 {selector} 的 Ready Pod 有 {len(ready)} 个，需要 {at_least} 个",
        )
    return ready


def note(lab: Lab, key: str, question: str, question_zh: str) -> str:
    """An answer that the learner has written down: `kubectl create configmap answers --from-literal=KEY=…`."""
    answers = lab.api.find(("v1", "configmaps"), "answers", "default") or {}
    data: Mapping[str, str] = answers.get("data") or {}
    if key not in data:
        command = f'kubectl patch configmap answers -p \'{{"data":{{"{key}":"…"}}}}\''
        missing(
            f"{question} Write the answer down: {command}",
            f"{question_zh} 请记下答案：{command}",
        )
    return data[key].strip()


def fetch(lab: Lab, pod: str, url: str, seconds: int = 5) -> str:
    """What a pod gets from a URL by its own wget; the step is missing where nothing answers.

    "No route to host" is asked once more: the packet may have joined an ARP question from before a cable was back.
    """
    command = ("timeout", str(seconds), "wget", "-qO-", url)
    try:
        try:
            return lab.exec(f"pod/{pod}", *command, timeout=seconds + 30)
        except LabError as problem:
            if "No route to host" not in str(problem):
                raise
            return lab.exec(f"pod/{pod}", *command, timeout=seconds + 30)
    except LabError:
        missing(f"pod '{pod}' gets no answer from {url}", f"Pod “{pod}” 访问 {url} 没有应答")


def counter(rules: str, pattern: str) -> int:
    """The packets of the first rule of an `iptables-save -c` that matches; 0 where none does."""
    for line in rules.splitlines():
        match = re.match(r"\[(\d+):\d+\] ", line)
        if match and re.search(pattern, line):
            return int(match.group(1))
    return 0
