"""Causes before what follows from them. PURE.

Findings come in the order of the walk. One is behind another where the table says that its code can follow from the
other's; among causes the order of the walk stays, so the first one is the first thing to mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from netlab.lab.diagnosis.model import Finding

CABLE = ("link-down", "no-carrier", "link-missing", "link-unplugged")
WAY = (
    *CABLE, "link-mtu", "link-wrong", "dropped-by-rule", "size-dropped", "loss-by-rule", "new-connections-dropped",
    "conntrack-full", "neighbour-wrong", "neighbour-missing", "fdb-wrong", "fdb-missing", "route-missing",
    "route-wrong", "route-diverts", "no-route", "address-missing", "sysctl-wrong", "shaped", "masquerade-rules",
    "namespace-missing",
)  # fmt: skip
PROCESSES = ("component-paused", "component-ended")
OFF = "node-off"
RULES = ("rules-stale", "rules-missing", "no-proxy", "proxy-failed")
ENDS = (
    "service-missing", "service-port", "selector", "no-pods", "pod-not-ready", "probe-unanswered", "pod-not-running",
    "pod-pending",
    "pod-node-not-ready", "no-endpoints", "endpoints-missing", "endpoints-stale", "target-port", "target-port-name",
    "traffic-policy", "network-policy", "dns-port", "service-not-exposed", "listens-on-loopback",
    "listens-elsewhere", "not-listening", "not-accepting", "process-paused",
)  # fmt: skip
SYMPTOMS = frozenset(
    {"name-unanswered", "name-loss", "service-unanswered", "endpoint-unanswered", "loss", "mtu", "name-wrong"}
)

FOLLOWS: dict[str, Sequence[str]] = {
    "link-down": (OFF,),
    "no-carrier": ("link-down", OFF),
    "link-missing": (OFF, *PROCESSES),
    "namespace-missing": (OFF,),
    "masquerade-rules": (OFF, *PROCESSES),
    "process-paused": (OFF,),
    "api-unreachable": ("component-paused", "component-ended", *CABLE),
    "node-not-ready": (OFF, "component-paused", "component-ended", *WAY),
    "pod-node-not-ready": ("node-not-ready", "component-paused", "component-ended", *WAY),
    "pod-not-running": (OFF, "node-not-ready"),
    "pod-pending": (OFF, "node-not-ready", *CABLE),
    "pod-not-ready": (OFF, "node-not-ready"),
    "probe-unanswered": (OFF, "process-paused", "node-not-ready", "component-paused", *WAY),
    "no-route": (*CABLE, "address-missing", "route-missing", "sysctl-wrong"),
    "route-missing": (OFF, *CABLE, *PROCESSES),
    "fdb-missing": (*CABLE, *PROCESSES),
    "neighbour-missing": CABLE,
    "rules-stale": (OFF, *PROCESSES, "no-proxy", "proxy-failed", "node-not-ready"),
    "rules-missing": (OFF, *PROCESSES, "no-proxy", "proxy-failed", "node-not-ready"),
    "endpoints-missing": ("component-paused", "component-ended", "api-unreachable"),
    "endpoints-stale": (OFF, "component-paused", "component-ended", "node-not-ready"),
    "not-accepting": ("process-paused",),
    "not-listening": (OFF, "pod-not-running", "pod-node-not-ready"),
    "name-wrong": ("process-paused", "component-paused", "api-unreachable"),
    **{code: (OFF, *PROCESSES, *RULES, *ENDS, *WAY, "resolv-conf") for code in SYMPTOMS if code != "name-wrong"},
}
"""Code → codes of findings from which it can follow."""


def causes_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Without repetitions; a finding that follows from another names that one's code and stands behind the causes."""
    once = list(dict.fromkeys(found))
    marked = [replace(finding, because=_cause(finding, once)) for finding in once]
    causes = [finding for finding in marked if not finding.because]
    real = [finding for finding in causes if finding.code not in SYMPTOMS]
    rest = [finding for finding in causes if finding.code in SYMPTOMS]
    return (*real, *rest, *(finding for finding in marked if finding.because))


def _cause(finding: Finding, others: Sequence[Finding]) -> str:
    wanted = FOLLOWS.get(finding.code, ())
    for other in others:
        if other is not finding and other.code in wanted and not _mutual(finding, other):
            return other.code
    return ""


def _mutual(finding: Finding, other: Finding) -> bool:
    """Two that could each follow from the other: neither does."""
    return finding.code in FOLLOWS.get(other.code, ())
