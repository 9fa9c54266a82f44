"""What an admission plug-in sees, and the chain that calls them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.authz.authorizer import Authorizer
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.wire.message import User

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Reader(Protocol):
    """The stored state, as far as plug-ins may look at it."""

    @property
    def config(self) -> ApiServerConfig: ...

    @property
    def authorizer(self) -> Authorizer: ...

    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Obj | None: ...

    def read_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]: ...

    def any(self, collection: str) -> bool:
        """Whether there is any object in a collection, cheaply."""
        ...

    def latest_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]:
        """As `read_all`, with the writes that are accepted but not yet durable; the caller's own copies."""
        ...

    def taken(self, resource: Resource, namespace: str, name: str) -> bool:
        """Whether the next creation under this name would find it taken."""
        ...

    def overwrite(self, obj: Obj) -> None:
        """Write a changed object from `latest_all`, in this turn of the event loop, before any later write."""
        ...


@dataclass(slots=True)
class Attributes:
    """One request as admission sees it; `obj` may be changed by mutating plug-ins, `old` may not."""

    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    obj: Obj | None
    old: Obj | None
    user: User
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    options: Obj = field(default_factory=dict)
    """CreateOptions, UpdateOptions, … of the request, where somebody asked for them."""
    annotations: dict[str, str] = field(default_factory=dict)
    """What webhooks and policies want the audit log to say."""

    @property
    def shown_name(self) -> str:
        """What a refusal calls the object: names that are generated are not known yet."""
        metadata = (self.obj or {}).get("metadata") or {}
        return self.name or metadata.get("name") or metadata.get("generateName") or "Unknown!"


Step = Callable[[Reader, Attributes], None]


@dataclass(frozen=True, slots=True)
class Plugin:
    """`mutate` and `validate` raise StatusError to refuse; either may be missing."""

    name: str
    mutate: Step | None = None
    validate: Step | None = None


class Admission:
    """The chain of plug-ins."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._mutate = [plugin.mutate for plugin in plugins if plugin.mutate is not None]
        self._validate = [plugin.validate for plugin in plugins if plugin.validate is not None]

    def mutate(self, reader: Reader, attributes: Attributes) -> None:
        for step in self._mutate:
            step(reader, attributes)

    def validate(self, reader: Reader, attributes: Attributes) -> None:
        for step in self._validate:
            step(reader, attributes)
