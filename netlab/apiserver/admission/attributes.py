"""What an admission plug-in sees, and the chain that calls them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from netlab.api.measuring import Histogram
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
    """`mutate` and `validate` raise StatusError to refuse; either may be missing.

    `about`: the collections ("pods", "ingresses.networking.k8s.io") whose requests it looks at; None: all.
    """

    name: str
    mutate: Step | None = None
    validate: Step | None = None
    about: frozenset[str] | None = None


Named = tuple[str, Step]


class Durations(Protocol):
    """Where the chain notes how long plug-ins took."""

    admission: Histogram
    admission_step: Histogram


class Admission:
    """The chain of plug-ins; for each collection, of those that it concerns."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = tuple(plugins)
        self._steps: dict[str, tuple[list[Named], list[Named]]] = {}
        self.measured: Durations | None = None

    def _of(self, collection: str) -> tuple[list[Named], list[Named]]:
        found = self._steps.get(collection)
        if found is None:
            concerned = [one for one in self._plugins if one.about is None or collection in one.about]
            mutate = [(one.name, one.mutate) for one in concerned if one.mutate is not None]
            validate = [(one.name, one.validate) for one in concerned if one.validate is not None]
            found = self._steps[collection] = mutate, validate
        return found

    def mutate(self, reader: Reader, attributes: Attributes) -> None:
        self._run(self._of(attributes.resource.group_resource)[0], "admit", reader, attributes)

    def validate(self, reader: Reader, attributes: Attributes) -> None:
        self._run(self._of(attributes.resource.group_resource)[1], "validate", reader, attributes)

    def _run(self, steps: Sequence[Named], type_: str, reader: Reader, attributes: Attributes) -> None:
        measured, operation, rejected, name = self.measured, attributes.operation, "true", ""
        begun = last = time.perf_counter()
        try:
            for name, step in steps:
                step(reader, attributes)
                if measured is not None:
                    before, last = last, time.perf_counter()
                    measured.admission.observe(last - before, name, operation, "false", type_)
            rejected = "false"
        finally:
            if measured is not None:
                now = time.perf_counter()
                if rejected == "true":
                    measured.admission.observe(now - last, name, operation, rejected, type_)
                measured.admission_step.observe(now - begun, operation, rejected, type_)
