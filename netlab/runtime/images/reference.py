"""Image references: the grammar of distribution/reference, and Docker's short names made long."""

import re
from dataclasses import dataclass
from functools import cache

from netlab.runtime.images.model import InvalidImageName

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?"

# Where the same images are had as well: caches of Docker Hub, and the earlier registries of the Kubernetes project.
_MIRRORS = (
    ("mirror.gcr.io/", "docker.io/"),
    ("public.ecr.aws/docker/", "docker.io/"),
    ("k8s.gcr.io/", "registry.k8s.io/"),
    ("gcr.io/google_containers/", "registry.k8s.io/"),
    ("gcr.io/google-containers/", "registry.k8s.io/"),
    ("us.gcr.io/k8s-artifacts-prod/", "registry.k8s.io/"),
    ("gcr.io/kubernetes-e2e-test-images/", "registry.k8s.io/e2e-test-images/"),
)


@cache
def _grammar() -> re.Pattern[str]:
    """Compiled when it is first needed: that takes 10 ms, and the start of a lab does not wait for it."""
    return re.compile(
        rf"(?P<name>(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
        r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?\Z",
        re.ASCII,
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference in full: "docker.io/library/busybox", "latest", ""."""

    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """As Docker shows it: without docker.io/library/."""
        short = self.repository.removeprefix("docker.io/").removeprefix("library/")
        return short + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(ref: str) -> Reference:
    """Raises InvalidImageName. A reference with neither tag nor digest means the tag "latest"."""
    match = _grammar().match(ref)
    if match is None or len(match["name"]) > 255:
        raise InvalidImageName(ref)
    name = match["name"]
    domain, slash, rest = name.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost" or domain != domain.lower()):
        domain, rest = "docker.io", name
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    if rest != rest.lower():
        raise InvalidImageName(ref)
    digest = match["digest"] or ""
    tag = match["tag"] or ("" if digest else "latest")
    return Reference(f"{domain}/{rest}", tag, digest)


def home(repository: str) -> str:
    """Where a mirrored repository comes from; any other is its own home."""
    for mirror, origin in _MIRRORS:
        if repository.startswith(mirror):
            return origin + repository.removeprefix(mirror)
    return repository
