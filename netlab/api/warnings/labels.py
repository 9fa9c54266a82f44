"""Node labels that had other names once, where selectors still ask for them. PURE.

Source followed: upstream `pkg/api/node/util.go`.
"""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import names

DEPRECATED = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}


def of_term(term: Obj, path: str, *, values: bool = False) -> list[str]:
    """Of a node selector's term; with `values` also those that no label can have."""
    found = []
    for i, one in enumerate(term.get("matchExpressions") or ()):
        key = one.get("key", "")
        if key in DEPRECATED:
            found.append(f"{path}.matchExpressions[{i}].key: {key} is {DEPRECATED[key]}")
        for j, value in enumerate(one.get("values") or () if values else ()):
            found += [
                f"{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {message}"
                for message in names.label_value(value)
            ]
    return found


def of_selector(selector: Obj, path: str) -> list[str]:
    """Of a label selector over nodes."""
    labels = selector.get("matchLabels") or {}
    return of_term(selector, path) + [
        f"{path}.matchLabels.{key}: {DEPRECATED[key]}" for key in labels if key in DEPRECATED
    ]
