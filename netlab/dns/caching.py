"""The `cache` plugin: answers kept for their TTL, existence and absence apart. Pure; time is told."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from netlab.dns.config import Cache, longest
from netlab.dns.message import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Query, Record, Reply

NEVER = REFUSED
Key = tuple[str, str, str, bool, bool]


@dataclass(frozen=True, slots=True)
class Kept:
    reply: Reply
    at: float
    ttl: float


def kind_of(reply: Reply) -> str:
    """success, denial, error or other, as CoreDNS' response.Typify: which of the stores an answer goes to."""
    if reply.rcode == NOERROR:
        return "success" if reply.answer else "denial" if _has_soa(reply) else "other"
    if reply.rcode == NXDOMAIN:
        return "denial" if _has_soa(reply) else "other"
    return "error" if reply.rcode == SERVFAIL else "other"


def _has_soa(reply: Reply) -> bool:
    return any(record.type == "SOA" for record in reply.authority)


def ttl_of(reply: Reply, config: Cache) -> float:
    """How many seconds the answer may be kept; 0: not at all."""
    match kind_of(reply):
        case "success":
            least = min(record.ttl for section in (reply.answer, reply.authority) for record in section)
            return max(min(least, config.success_ttl), min(config.success_min_ttl, config.success_ttl))
        case "denial":
            least = min(_negative(record) for record in reply.authority if record.type == "SOA")
            return max(min(least, config.denial_ttl), min(config.denial_min_ttl, config.denial_ttl))
        case "error":
            return config.servfail
    return 0


def _negative(soa: Record) -> int:
    return min(soa.ttl, int(soa.data.rpartition(" ")[2]))


class AnswerCache:
    """One server block's. Full, it gives up entries at random."""

    def __init__(self, config: Cache) -> None:
        self.config = config
        self.stores: dict[str, dict[Key, Kept]] = {"success": {}, "denial": {}}
        self.evictions = {"success": 0, "denial": 0}

    def serves(self, query: Query) -> bool:
        return longest(self.config.zones, query.lower) is not None

    def get(self, query: Query, now: float, *, stale: bool = False) -> tuple[str, Reply] | None:
        """(success or denial, the answer with what is left of its TTLs)."""
        key = _key(query)
        for kind in ("denial", "success"):
            kept = self.stores[kind].get(key)
            if kept is None:
                continue
            age = now - kept.at
            if age >= kept.ttl + (self.config.stale if stale else 0):
                continue
            left = max(0, int(kept.ttl - age))
            if self.config.keep_ttl:
                left = int(kept.ttl)
            # the bytes stay the same until the next second begins
            keep = 1 - (age % 1) if not self.config.keep_ttl else kept.ttl - age
            return kind, _named(_with_ttl(kept.reply, left, keep), query)
        return None

    def put(self, query: Query, reply: Reply, now: float) -> Reply:
        """Keeps the answer if it may be kept; how the asker is to see it."""
        kind, ttl = kind_of(reply), ttl_of(reply, self.config)
        store = "success" if kind == "success" else "denial"
        disabled = self.config.no_success if store == "success" else self.config.no_denial
        if not ttl or longest(disabled, query.lower) is not None:
            return reply
        kept = self.stores[store]
        capacity = self.config.success_capacity if store == "success" else self.config.denial_capacity
        if len(kept) >= capacity:
            del kept[random.choice(list(kept)) if capacity < 1000 else next(iter(kept))]
            self.evictions[store] += 1
        self.stores["denial" if store == "success" else "success"].pop(_key(query), None)
        kept[_key(query)] = Kept(replace(reply, keep=0), now, ttl)
        # the next one comes from here, and its TTL has begun to count down
        return _with_ttl(reply, int(ttl), 0.0) if kind != "error" else replace(reply, keep=0.0)

    def clear(self) -> None:
        for store in self.stores.values():
            store.clear()


def _key(query: Query) -> Key:
    return query.lower, query.type, query.cls, query.do, query.cd


def _with_ttl(reply: Reply, ttl: int, keep: float) -> Reply:
    def capped(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(replace(record, ttl=ttl) for record in records)

    return replace(
        reply,
        answer=capped(reply.answer),
        authority=capped(reply.authority),
        additional=capped(reply.additional),
        keep=keep,
    )


def _named(reply: Reply, query: Query) -> Reply:
    """The question's own spelling of its name."""
    answer = tuple(
        replace(record, name=query.name) if record.name.lower() == query.lower and record.name != query.name else record
        for record in reply.answer
    )
    return replace(reply, answer=answer)
