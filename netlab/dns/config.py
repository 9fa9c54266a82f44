"""What a Corefile means: frozen, and nothing but data. Times are seconds, zones lower case with their final dot."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Pods = Literal["disabled", "insecure", "verified"]
Match = Literal["exact", "prefix", "suffix", "substring", "regex"]
Policy = Literal["random", "round_robin", "sequential"]


def in_zone(name: str, zone: str) -> bool:
    """Whether a name (lower case, with its final dot) is the zone or below it."""
    return zone == "." or name == zone or name.endswith("." + zone)


def longest(zones: tuple[str, ...], name: str) -> str | None:
    """The most special of the zones that the name is in."""
    return max((zone for zone in zones if in_zone(name, zone)), key=len, default=None)


@dataclass(frozen=True, slots=True)
class Fallthrough:
    """`fallthrough [ZONES…]`: names of these zones that do not exist are passed on. No zone: all."""

    zones: tuple[str, ...] = (".",)

    def through(self, name: str) -> bool:
        return longest(self.zones, name) is not None


@dataclass(frozen=True, slots=True)
class Kubernetes:
    zones: tuple[str, ...] = ("cluster.local.",)
    ttl: int = 5
    pods: Pods = "disabled"
    fallthrough: Fallthrough | None = None
    namespaces: frozenset[str] = frozenset()
    labels: str = ""
    namespace_labels: str = ""
    endpoint_pod_names: bool = False
    ignore_empty: bool = False
    endpoints: bool = True

    @property
    def primary(self) -> str:
        """The zone in which reverse names lead to: the first that is no reverse zone."""
        return next(zone for zone in self.zones if not zone.endswith(".arpa."))


@dataclass(frozen=True, slots=True)
class Hosts:
    """`inline` and file lines are "address name…"; `file` is read where it exists."""

    zones: tuple[str, ...] = (".",)
    file: str = "/etc/hosts"
    inline: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ttl: int = 3600
    reverse: bool = True
    reload: float = 5.0
    fallthrough: Fallthrough | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """`to` are "address", "address:port", or a resolv.conf's path."""

    zone: str = "."
    to: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    policy: Policy = "random"
    max_concurrent: int = 0
    max_fails: int = 2
    health_check: float = 0.5
    failover: frozenset[str] = frozenset()
    next_on: frozenset[str] = frozenset()
    fail_fast: bool = False


@dataclass(frozen=True, slots=True)
class Cache:
    zones: tuple[str, ...] = (".",)
    success_ttl: int = 3600
    success_capacity: int = 9984
    success_min_ttl: int = 5
    denial_ttl: int = 1800
    denial_capacity: int = 9984
    denial_min_ttl: int = 5
    servfail: float = 5.0
    no_success: tuple[str, ...] = ()
    no_denial: tuple[str, ...] = ()
    stale: float = 0.0
    keep_ttl: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """`answer name|value FROM TO`: FROM is a regular expression, TO may hold {1}, {2}, …"""

    part: Literal["name", "value"]
    pattern: re.Pattern[str]
    to: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`rewrite [continue|stop] FIELD [TYPE] FROM TO [OPTIONS]`. For `ttl`, `to` is "LOW-HIGH"; for `rcode` a pair."""

    field: Literal["name", "type", "class", "ttl", "rcode"]
    match: Match
    source: str
    to: str
    go_on: bool = False
    auto: bool = False
    answers: tuple[AnswerRule, ...] = ()
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class LogRule:
    """`log [NAMES…] [FORMAT] { class … }`."""

    zones: tuple[str, ...] = (".",)
    format: str = "{common}"
    classes: frozenset[str] = frozenset({"all"})


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """`plugins` are the names of its directives, as they stand there. A door's port is None where it is not asked for;
    hosts are "" for any address."""

    zones: tuple[str, ...] = (".",)
    port: int = 53
    bind: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    errors: bool = False
    log: tuple[LogRule, ...] = ()
    health: tuple[str, int] | None = None
    ready: tuple[str, int] | None = None
    prometheus: tuple[str, int] | None = None
    lameduck: float = 0.0
    reload: float | None = None
    loadbalance: bool = False
    loop: bool = False
    bufsize: int = 0
    cache: Cache | None = None
    rewrites: tuple[Rewrite, ...] = ()
    hosts: Hosts | None = None
    kubernetes: Kubernetes | None = None
    forwards: tuple[Forward, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A whole Corefile."""

    blocks: tuple[ServerBlock, ...] = (ServerBlock(kubernetes=Kubernetes()),)
    sha512: str = field(default="", compare=False)

    @property
    def lameduck(self) -> float:
        return max((block.lameduck for block in self.blocks), default=0.0)

    @property
    def reload(self) -> float | None:
        """How often to look at the file, in seconds; None: never."""
        return min((block.reload for block in self.blocks if block.reload is not None), default=None)
