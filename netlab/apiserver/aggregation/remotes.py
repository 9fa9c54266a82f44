"""The groups and versions that are served elsewhere, as the stored APIServices say; read on every request."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.types import Obj

COLLECTION = "apiservices.apiregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class Remote:
    """One APIService with a Service behind it. `ca` is PEM; `mark` changes when the object's spec does."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: str
    insecure: bool
    group_priority: int
    version_priority: int
    available: bool
    mark: tuple[str, str]

    @property
    def path(self) -> str:
        """Where its discovery document is."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


@dataclass(frozen=True, eq=False, slots=True)
class Documents:
    """What one remote says of itself, as it was when it last answered.

    `resources` is its APIResourceList, `discovery` its entry of aggregated discovery, `v3` and `v2` its schemas.
    """

    resources: Obj
    discovery: Obj
    v3: bytes = b""
    v2: Obj = field(default_factory=dict)

    def same(self, other: Documents) -> bool:
        """Whether the other says the same."""
        mine, theirs = (self.resources, self.discovery, self.v3), (other.resources, other.discovery, other.v3)
        return mine == theirs and self.v2 == other.v2


class Remotes:
    """Look-up by group and version. Made anew whenever an APIService changes."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], Remote] = {}
        self.documents: dict[tuple[str, str], Documents] = {}

    def __iter__(self) -> Iterator[Remote]:
        return iter(self._at.values())

    def __len__(self) -> int:
        return len(self._at)

    def renew(self, services: Iterable[Obj]) -> None:
        """From the stored objects."""
        found = [remote for remote in map(remote_of, services) if remote is not None]
        self._at = {(one.group, one.version): one for one in found}
        self.documents = {place: known for place, known in self.documents.items() if place in self._at}

    def of(self, path: str) -> Remote | None:
        """Who serves a path of the API, None where it is served here."""
        if not self._at or not path.startswith("/api"):
            return None
        parts = path.split("/", 4)
        if len(parts) > 3 and parts[1] == "apis":
            return self._at.get((parts[2], parts[3]))
        return self._at.get(("", parts[2])) if len(parts) > 2 and parts[1] == "api" else None

    def heard(self) -> tuple[tuple[Remote, Documents], ...]:
        """Those that have said something of themselves, in order of priority."""
        pairs = [(one, self.documents[place]) for place, one in self._at.items() if place in self.documents]
        return tuple(sorted(pairs, key=lambda pair: (-pair[0].group_priority, -pair[0].version_priority)))


def remote_of(service: Obj) -> Remote | None:
    """None for an APIService that is served here."""
    spec = service["spec"]
    behind = spec.get("service")
    if not behind:
        return None
    return Remote(
        name=meta.name(service),
        group=spec.get("group", ""),
        version=spec.get("version", ""),
        namespace=behind.get("namespace", ""),
        service=behind.get("name", ""),
        port=int(behind.get("port") or 443),
        ca=base64.b64decode(spec.get("caBundle") or "").decode(errors="replace"),
        insecure=bool(spec.get("insecureSkipTLSVerify")),
        group_priority=int(spec.get("groupPriorityMinimum") or 0),
        version_priority=int(spec.get("versionPriority") or 0),
        available=meta.condition_true(service, "Available"),
        mark=(meta.uid(service), repr(sorted(spec.items(), key=lambda pair: pair[0]))),
    )
