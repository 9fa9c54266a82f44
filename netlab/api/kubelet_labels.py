"""PURE. Which labels a kubelet may put on its own Node; the others are the administrator's (kubeadm's, in a cluster).

Source followed: k8s.io/kubelet/pkg/apis/well_known_labels.go, plugin/pkg/admission/noderestriction.
"""

from collections.abc import Mapping

_RESTRICTED = "node-restriction.kubernetes.io"
_ALLOWED = frozenset(
    {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    }
)
_ALLOWED_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")


def kubelet_may_set(label: str) -> bool:
    """Whether NodeRestriction lets a kubelet set, change or remove this label."""
    prefix = label.partition("/")[0] if "/" in label else ""
    if _within(prefix, _RESTRICTED):
        return False
    if not (_within(prefix, "kubernetes.io") or _within(prefix, "k8s.io")) or label in _ALLOWED:
        return True
    return any(_within(prefix, allowed) for allowed in _ALLOWED_PREFIXES)


def forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The labels that differ and that a kubelet may not set, sorted."""
    changed = {key for key in {*new, *old} if new.get(key) != old.get(key)}
    return sorted(key for key in changed if not kubelet_may_set(key))


def _within(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith(f".{domain}")
