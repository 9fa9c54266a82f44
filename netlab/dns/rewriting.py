"""The `rewrite` plugin: questions changed on their way in, answers changed back on their way out. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from netlab.dns.config import AnswerRule, Rewrite
from netlab.dns.message import RCODES, Query, Record, Reply

_GROUP = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True, slots=True)
class Undo:
    """What is to be done to the answer. `names`: what the question was rewritten to, and what it was."""

    original: Query
    names: tuple[tuple[str, str, bool], ...] = ()
    """(rewritten, before, only where the rule says `answer auto`, or is exact)"""
    rules: tuple[AnswerRule, ...] = ()
    ttl: tuple[int, int] | None = None
    rcode: tuple[int, int] | None = None

    def apply(self, reply: Reply) -> Reply:
        """The answer as the asker may see it."""
        if self.rcode is not None and reply.rcode == self.rcode[0]:
            reply = replace(reply, rcode=self.rcode[1])
        return replace(
            reply,
            answer=tuple(map(self._record, reply.answer)),
            additional=tuple(map(self._record, reply.additional)),
            authority=tuple(map(self._ttl, reply.authority)),
        )

    def _ttl(self, record: Record) -> Record:
        return record if self.ttl is None else replace(record, ttl=min(max(record.ttl, self.ttl[0]), self.ttl[1]))

    def _record(self, record: Record) -> Record:
        name, data = record.name, record.data
        for rewritten, before, whole in reversed(self.names):
            name = before if name.lower() == rewritten else name
            if whole and record.type in _TARGETS and data.lower().endswith(rewritten):
                data = data[: -len(rewritten)] + before
        for rule in self.rules:
            if rule.part == "name":
                name = _substituted(rule.pattern, name.rstrip("."), rule.to) or name
            elif record.type in _TARGETS:
                *front, target = data.split(" ")
                data = " ".join([*front, _substituted(rule.pattern, target.rstrip("."), rule.to) or target])
        return self._ttl(replace(record, name=name, data=data))


_TARGETS = ("CNAME", "SRV", "PTR", "MX", "NS", "DNAME")


def _substituted(pattern: re.Pattern[str], text: str, to: str) -> str | None:
    match = pattern.search(text) or pattern.search(text + ".")
    if match is None:
        return None
    return _GROUP.sub(lambda group: match[int(group[1])] or "" if int(group[1]) <= match.re.groups else "", to)


def matched(rule: Rewrite, name: str) -> str | None:
    """The name that a rule makes of a name (lower case, with its final dot); None where it does not match."""
    source, to = rule.source, rule.to
    match rule.match:
        case "exact":
            return to if name == source else None
        case "prefix":
            return to + name[len(source) :] if name.startswith(source) else None
        case "suffix":
            return name[: -len(source)] + to if name.endswith(source) else None
        case "substring":
            return name.replace(source, to, 1) if source in name else None
        case "regex" if rule.pattern is not None:
            return _substituted(rule.pattern, name, to) if rule.pattern.search(name) else None
    return None


def apply(rules: Sequence[Rewrite], query: Query) -> tuple[Query, Undo | None]:
    """The question as the next plugin sees it, and what is to be done to its answer. Rules are tried in order; the
    first that matches ends it unless it says `continue`."""
    asked, undo = query, Undo(query)
    for rule in rules:
        changed = _one(rule, asked, undo)
        if changed is None:
            continue
        asked, undo = changed
        if not rule.go_on:
            break
    return asked, None if undo == Undo(query) and asked == query else undo


def _one(rule: Rewrite, asked: Query, undo: Undo) -> tuple[Query, Undo] | None:
    if rule.field in ("type", "class"):
        have = asked.type if rule.field == "type" else asked.cls
        if have != rule.source.upper():
            return None
        to = rule.to.upper()
        return (replace(asked, type=to) if rule.field == "type" else replace(asked, cls=to)), undo
    name = matched(rule, asked.lower)
    if name is None:
        return None
    if rule.field == "ttl":
        low, dash, high = rule_ttl(rule).partition("-")
        bounds = (int(low or 0), int(high or (1 << 31) - 1)) if dash else (int(low), int(low))
        return asked, replace(undo, ttl=bounds)
    if rule.field == "rcode":
        before, after = (_rcode(text) for text in rule.to.split(","))
        return asked, replace(undo, rcode=(before, after))
    # an exact rule is undone by itself, as in CoreDNS; the others where `answer auto` says so
    back = rule.auto or rule.match == "exact"
    names = (*undo.names, (name.lower(), asked.name, rule.auto)) if back else undo.names
    return replace(asked, name=name, lower=name.lower()), replace(undo, names=names, rules=undo.rules + rule.answers)


def rule_ttl(rule: Rewrite) -> str:
    """ "30", "30-300", "-300" or "30-"."""
    return rule.to


def _rcode(text: str) -> int:
    return int(text) if text.isdigit() else RCODES.index(text.upper())
