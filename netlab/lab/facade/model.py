"""What the façade's calls give back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.trace.story import Frame


class Unreachable(LabError):  # noqa: N818
    """No answer: refused, unreachable, or too late. `reason` in a word or two."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class WaitTimeout(LabError):  # noqa: N818
    """What was waited for did not come to be; the text says what, and how things were at the end."""


@dataclass(slots=True)
class Observation:
    """What a `Lab.observe` block saw; complete when the block has ended. `dropped`: frames lost, by place."""

    frames: list[Frame] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """A DNS answer. `name` as it was found (the search list applied), `rcode` as "NOERROR" or "NXDOMAIN"."""

    name: str
    rcode: str
    records: tuple[str, ...]
    ttl: int
    server: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of a machine or pod. `addresses` with prefix length; `state` as `ip link` shows it."""

    name: str
    mac: str
    mtu: int
    up: bool
    state: str
    addresses: tuple[str, ...]
