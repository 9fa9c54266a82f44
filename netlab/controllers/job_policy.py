"""PURE. What a Job's podFailurePolicy and successPolicy say.

Upstream pkg/controller/job: pod_failure_policy.go, success_policy.go, indexed_job_utils.go (sets of indexes as text).
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.api import meta
from netlab.api.types import Obj


@dataclass(frozen=True)
class Failure:
    """What the first rule that fits a failed pod wants; `message` explains FailJob and FailIndex."""

    action: str
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


COUNT = Failure("Count")


def failure(job: Obj, pod: Obj) -> Failure:
    """The action for one failed pod; Count where no rule fits."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        action = rule["action"]
        place = f"pod {meta.namespace(pod)}/{meta.name(pod)}"
        if codes := rule.get("onExitCodes"):
            found = _container(pod, codes)
            if found is not None:
                name, code = found
                text = f"Container {name} for {place} failed with exit code {code}"
                return Failure(action, f"{text} matching {action} rule at index {number}")
        elif (kind := _condition(pod, rule.get("onPodConditions") or ())) is not None:
            return Failure(action, f"Pod {place[4:]} has condition {kind} matching {action} rule at index {number}")
    return COUNT


def _container(pod: Obj, codes: Obj) -> tuple[str, int] | None:
    """The first container that ended with a fitting code other than 0."""
    status = pod.get("status") or {}
    for one in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        ended = (one.get("state") or {}).get("terminated")
        if not ended or codes.get("containerName") not in (None, "", one["name"]):
            continue
        code = int(ended.get("exitCode") or 0)
        if code and (code in codes["values"]) == (codes["operator"] == "In"):
            return one["name"], code
    return None


def _condition(pod: Obj, patterns: list[Obj] | tuple[Obj, ...]) -> str | None:
    for pattern in patterns:
        for one in (pod.get("status") or {}).get("conditions") or ():
            if one["type"] == pattern["type"] and one["status"] == (pattern.get("status") or "True"):
                return str(one["type"])
    return None


def success(job: Obj, done: set[int]) -> str | None:
    """The message of the first rule that the completed indexes satisfy."""
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        wanted = parse_ranges(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        count = rule.get("succeededCount")
        found = done if wanted is None else done & wanted
        enough = len(found) >= int(count) if count is not None else wanted is not None and found == wanted
        if enough:
            return f"Matched rules at index {number}"
    return None


def ranges(numbers: set[int]) -> str:
    """`0-2,5`: how sets of indexes are written. Two neighbours are `0,1`, as upstream has them."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    texts = [str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in parts]
    return ",".join(texts)


def parse_ranges(text: str) -> set[int]:
    """The inverse of `ranges`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
