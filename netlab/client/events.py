"""Events, as client-go's EventRecorder and EventCorrelator write them: repeated ones counted, floods dropped."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.client.client import Client


class EventRecorder:
    """Writes in the background; never blocks and never raises. `component` is source.component, `host` source.host."""

    def __init__(self, client: Client, component: str, *, host: str = "") -> None:
        raise NotImplementedError

    def event(self, obj: Obj, type_: str, reason: str, message: str, *, field_path: str = "", action: str = "") -> None:
        """Record an event about `obj` (an API object, or an ObjectReference with kind, name, namespace, uid).

        `type_` is Normal or Warning; `field_path` is involvedObject.fieldPath, e.g. "spec.containers{app}".
        """
        raise NotImplementedError

    async def flush(self, timeout: float = 5.0) -> None:
        """Wait until what was recorded is written."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
