"""PURE. The graph of owners and dependents, and what follows from a change in it.

An object is kept while one of its owners exists. Owners that the graph has not seen may exist all the same (their kind
may not be watched): the caller asks the server before anything is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from netlab.api import meta
from netlab.api.types import Obj

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
Policy = Literal["Background", "Foreground", "Orphan"]
Presence = Literal["solid", "waiting", "absent"]
"""An owner that is there; that waits for its dependents to go (foreground deletion); that is not there."""


@dataclass
class Item:
    """An object as the graph needs it."""

    uid: str
    resource: tuple[str, str]
    kind: str
    namespace: str
    name: str
    version: str
    owners: list[Obj]
    finalizers: list[str]
    deleting: bool

    @property
    def foreground(self) -> bool:
        """Being deleted, its dependents first."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        """Being deleted, its dependents to be kept."""
        return self.deleting and ORPHAN in self.finalizers


def item_of(obj: Obj, resource: tuple[str, str]) -> Item:
    return Item(
        meta.uid(obj),
        resource,
        str(obj.get("kind", "")),
        meta.namespace(obj),
        meta.name(obj),
        meta.resource_version(obj),
        meta.owner_references(obj),
        meta.finalizers(obj),
        meta.deleting(obj),
    )


@dataclass(frozen=True)
class Verdict:
    """What to do with one item: any of these, in this order.

    `drop` are owner uids to take out of its references; `remove_finalizer` is its own; `look_at` are uids to judge
    next.
    """

    drop: tuple[str, ...] = ()
    unblock: bool = False
    delete: Policy | None = None
    remove_finalizer: str = ""
    orphan: tuple[str, ...] = ()
    look_at: tuple[str, ...] = ()


@dataclass
class Graph:
    """Items by uid, and dependents by their owner's uid (seen or not)."""

    items: dict[str, Item] = field(default_factory=dict)
    dependents: dict[str, set[str]] = field(default_factory=dict)

    def put(self, item: Item) -> list[str]:
        """An object appeared or changed; returns the uids to judge."""
        old = self.items.get(item.uid)
        self.items[item.uid] = item
        before = {ref["uid"] for ref in old.owners} if old else set()
        after = {ref["uid"] for ref in item.owners}
        for owner in before - after:
            self._detach(owner, item.uid)
        for owner in after - before:
            self.dependents.setdefault(owner, set()).add(item.uid)
        work = [owner for owner in before - after if self._waits(owner)]
        if any(owner not in self.items for owner in after):
            work.append(item.uid)
        if (item.foreground or item.orphaning) and not (old and old.deleting and old.finalizers == item.finalizers):
            work.append(item.uid)
        if old is not None and old.owners != item.owners:
            work += [owner for owner in after if self._waits(owner)]
        return work

    def remove(self, uid: str) -> list[str]:
        """An object is gone; returns the uids to judge."""
        item = self.items.pop(uid, None)
        if item is None:
            return []
        for ref in item.owners:
            self._detach(ref["uid"], uid)
        waiting = [ref["uid"] for ref in item.owners if self._waits(ref["uid"])]
        return [*self.dependents.get(uid, ()), *waiting]

    def presence(self, ref: Obj, item: Item) -> Presence | None:
        """Whether an owner is there, as far as the graph knows; None: ask the server."""
        owner = self.items.get(ref["uid"])
        if owner is None or (owner.namespace and owner.namespace != item.namespace):
            return None
        if (owner.kind, owner.name) != (ref.get("kind"), ref.get("name")):
            return None
        return "waiting" if owner.foreground else "solid"

    def judge(self, item: Item, owners: dict[str, Presence]) -> Verdict:
        """What to do; `owners` says of each owner's uid whether it is there."""
        if item.orphaning:
            return Verdict(orphan=tuple(self._owned(item.uid)), remove_finalizer=ORPHAN)
        if item.foreground:
            return self._judge_foreground(item)
        if item.deleting or not item.owners:
            return Verdict()
        kinds = {uid: owners[uid] for uid in (ref["uid"] for ref in item.owners)}
        gone = tuple(uid for uid, presence in kinds.items() if presence != "solid")
        if len(gone) < len(kinds):
            return Verdict(drop=gone)
        if "waiting" in kinds.values() and self.dependents.get(item.uid):
            circle = any(self.items[uid].foreground for uid in self._owned(item.uid))
            return Verdict(unblock=circle, delete="Foreground")
        if ORPHAN in item.finalizers:
            return Verdict(delete="Orphan")
        return Verdict(delete="Foreground" if FOREGROUND in item.finalizers else "Background")

    def _judge_foreground(self, item: Item) -> Verdict:
        owned = self._owned(item.uid)
        blocking = [uid for uid in owned if _blocks(self.items[uid].owners, item.uid)]
        rest = tuple(uid for uid in owned if not self.items[uid].deleting)
        if not blocking:
            return Verdict(remove_finalizer=FOREGROUND, look_at=rest)
        return Verdict(look_at=rest)

    def _owned(self, uid: str) -> list[str]:
        return [one for one in self.dependents.get(uid, ()) if one in self.items]

    def _waits(self, uid: str) -> bool:
        owner = self.items.get(uid)
        return owner is not None and owner.foreground

    def _detach(self, owner: str, uid: str) -> None:
        left = self.dependents.get(owner)
        if left is not None:
            left.discard(uid)
            if not left:
                del self.dependents[owner]


def _blocks(owners: Iterable[Obj], uid: str) -> bool:
    return any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in owners)
