"""A request and its answer as values, whatever carried them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Protocol

import orjson

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.apiserver.wire.negotiate import JSON
from netlab.apiserver.wire.path import RequestInfo


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. `extra` as in a TokenReview's user info."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def info(self) -> Obj:
        """As authentication.k8s.io UserInfo."""
        found: Obj = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        if self.groups:
            found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = {key: list(values) for key, values in self.extra}
        return found


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(slots=True)
class Request:
    """`query` holds the first value of each parameter, `raw_query` the whole text.

    Header names are in lower case; a header that was repeated has a line for each value.
    """

    info: RequestInfo
    method: str
    query: Mapping[str, str]
    raw_query: str
    headers: Mapping[str, str]
    body: bytes = b""
    user: User = ANONYMOUS
    warnings: list[str] = field(default_factory=list)
    source: str = ""
    """The peer's address; filled in where there is an audit log."""
    audit_id: str = ""
    audit: Any = None
    """The request's `netlab.apiserver.audit.Record`, where the audit policy wants one."""


@dataclass(slots=True)
class Response:
    """A whole answer. `more` follows the body without being copied behind it."""

    code: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    more: tuple[bytes, ...] = ()

    @property
    def text(self) -> bytes:
        """The whole body."""
        return self.body + b"".join(self.more)


class Sink(Protocol):
    """Where a watch's bytes go. Writing never waits: `buffered` tells how much the reader is behind.

    `initial`: the bytes that it got at once, at its start.
    """

    initial: int

    @property
    def closed(self) -> bool: ...

    @property
    def buffered(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


@dataclass(slots=True)
class Streaming:
    """An answer without a known length: `run` writes HTTP chunks to the sink until it returns."""

    run: Callable[[Sink], Awaitable[None]]
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class TakeOver:
    """The connection itself is handed on: to a node, or to another backend, at host:port.

    `path` includes the query. `client` is the TLS identity to present; plain TCP where `tls` is false.
    """

    host: str
    port: int
    path: str
    tls: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    """The path before what is proxied: links in the answer are led through it."""
    lines: Sequence[tuple[str, str]] = ()
    """Further headers, which may be repeated; `without` are the client's (in lower case) that go no further."""
    without: frozenset[str] = frozenset()
    context: SSLContext | None = None
    """For a backend that is trusted in its own way, as `server_name`."""
    server_name: str = ""
    body: bytes | None = None
    """The request's body where it has been read already."""
    unreachable: Callable[[str], Response] | None = None
    """What to answer when the backend cannot be reached, given why; None: as for a node."""


Answer = Response | Streaming | TakeOver


def json_response(value: Any, code: int = 200) -> Response:
    """Ends its line as Go's json.Encoder does; only what is indented does not (serializer/json)."""
    return Response(code, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def error_response(error: StatusError) -> Response:
    body = orjson.dumps(error.status, option=orjson.OPT_APPEND_NEWLINE)
    return Response(error.code, body, headers=dict(error.headers))
