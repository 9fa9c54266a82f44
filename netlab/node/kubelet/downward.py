"""The downward API: what a container may learn of its own pod, as text. Pure.

Follows upstream pkg/fieldpath and pkg/api/v1/resource (ExtractContainerResourceValue).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from netlab.api.types import Obj
from netlab.node.kubelet.podspec import find_container, quantity

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]\Z")


class DownwardError(Exception):
    """The field is not one that the downward API offers, or cannot be computed."""


@dataclass(frozen=True)
class PodFacts:
    """A pod with what only its kubelet knows yet: its addresses, and the node's allocatable resources."""

    pod: Obj
    node_name: str = ""
    host_ips: Sequence[str] = ()
    pod_ips: Sequence[str] = ()
    allocatable: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])


def _quote(text: str) -> str:
    """strconv.Quote for what labels and annotations hold."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char in "\n\t\r\a\b\f\v":
            out.append(
                {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}[char]
            )
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\x{ord(char):02x}" if ord(char) < 0x80 else f"\\u{ord(char):04x}")
    return '"' + "".join(out) + '"'


def format_map(values: Mapping[str, str]) -> str:
    """`key="value"` lines in key order, no newline at the end."""
    return "\n".join(f"{key}={_quote(values[key])}" for key in sorted(values))


def pod_field(facts: PodFacts, path: str) -> str:
    """The value of a fieldRef. Raises DownwardError."""
    meta, spec = facts.pod["metadata"], facts.pod["spec"]
    match = _SUBSCRIPT.match(path)
    if match:
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName") or facts.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": facts.host_ips[0] if facts.host_ips else "",
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(meta.get(path.partition(".")[2]) or {})
    raise DownwardError(f"unsupported fieldPath: {path}")


def container_field(facts: PodFacts, ref: Obj, container: Obj | None = None) -> str:
    """The value of a resourceFieldRef, rounded up to its divisor. Raises DownwardError.

    A limit that is not set is the node's allocatable amount, as upstream has it.
    """
    if name := ref.get("containerName"):
        container = find_container(facts.pod["spec"], name)
    if container is None:
        raise DownwardError(f"container {ref.get('containerName')} not found")
    kind, _, resource = str(ref["resource"]).partition(".")
    resources = container.get("resources") or {}
    if kind not in ("limits", "requests"):
        raise DownwardError(f"unsupported container resource: {ref['resource']}")
    value = (resources.get(kind) or {}).get(resource)
    if value is None and kind == "limits":
        value = facts.allocatable.get(resource, "0")
    if value is None:
        value = "0"
    divisor = quantity(ref.get("divisor") or "1")
    return str(ceil(quantity(value) / (divisor or 1)))
