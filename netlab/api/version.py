"""The Kubernetes version whose behaviour everything here follows, and how programs name themselves with it."""

KUBERNETES_VERSION = "v1.33.1"
"""Reported by /version and by every node."""


def user_agent(program: str) -> str:
    """As client-go's DefaultKubernetesUserAgent; the first word becomes the manager of the fields that it writes."""
    return f"{program}/{KUBERNETES_VERSION} (linux/amd64) kubernetes/netlab"
