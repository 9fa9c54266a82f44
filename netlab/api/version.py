"""The Kubernetes version whose behaviour everything here follows, and how programs name themselves with it."""

KUBERNETES_VERSION = "v1.33.1"
"""Reported by /version and by every node."""
GIT_COMMIT = "8adc0f041b8e7ad1d30e29cc59c6ae7a15e19828"
"""The release's commit: `kubectl --match-server-version` compares it too."""


def user_agent(program: str) -> str:
    """As client-go's DefaultKubernetesUserAgent; the first word becomes the manager of the fields that it writes."""
    return f"{program}/{KUBERNETES_VERSION} (linux/amd64) kubernetes/netlab"
