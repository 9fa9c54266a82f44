"""ControllerRevisions: the history of a DaemonSet's or StatefulSet's template (upstream pkg/controller/history)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer
from netlab.client.kinds import CONTROLLER_REVISIONS
from netlab.controllers.deployment.template import fnv32a, safe_encode

HASH_LABEL = "controller-revision-hash"


def data_of(owner: Obj) -> Obj:
    """PURE. What a revision keeps: a strategic patch that brings the template back."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def hash_of(data: Obj, collisions: int = 0) -> str:
    """PURE. The hash in the revision's name and its pods' label."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":")) + (str(collisions) if collisions else "")
    return safe_encode(str(fnv32a(text.encode())))


def new_revision(owner: Obj, number: int) -> Obj:
    """PURE. The ControllerRevision of the owner's present template."""
    data = data_of(owner)
    digest = hash_of(data, int(meta.get(owner, "status", "collisionCount", default=0)))
    labels = meta.get(owner, "spec", "template", "metadata", "labels", default={})
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta.name(owner)}-{digest}",
            "namespace": meta.namespace(owner),
            "labels": {**labels, HASH_LABEL: digest},
            "annotations": {k: v for k, v in meta.annotations(owner).items() if not k.startswith("kubectl.")},
            "ownerReferences": [meta.owner_reference(owner)],
        },
        "data": data,
        "revision": number,
    }


@dataclass(frozen=True)
class History:
    """`current` is the revision of the present template; `old` the others, oldest first."""

    current: Obj
    old: tuple[Obj, ...]

    @property
    def hash(self) -> str:
        return meta.labels(self.current)[HASH_LABEL]


def surplus(old: Sequence[Obj], in_use: Iterable[str], limit: int) -> list[Obj]:
    """PURE. Revisions beyond the limit whose hash or name no pod carries as its label."""
    used = set(in_use)
    idle = [one for one in old if used.isdisjoint((meta.name(one), meta.labels(one).get(HASH_LABEL, "")))]
    return idle[: max(0, len(idle) - limit)]


async def sync(client: Client, informer: Informer, owner: Obj, revisions: Sequence[Obj]) -> History:
    """Make the present template's revision exist and be the newest."""
    ordered = sorted(revisions, key=lambda one: int(one["revision"]))
    newest = int(ordered[-1]["revision"]) if ordered else 0
    data = data_of(owner)
    same = [one for one in ordered if one["data"] == data]
    if not same:
        try:
            current = await client.create(CONTROLLER_REVISIONS, new_revision(owner, newest + 1))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            name = meta.name(new_revision(owner, 0))
            current = await client.get(CONTROLLER_REVISIONS, name, meta.namespace(owner))
        informer.observe(current)
    else:
        current = same[-1]
        if int(current["revision"]) < newest:
            name, where = meta.name(current), meta.namespace(current)
            patch = {"revision": newest + 1}
            current = await client.patch(CONTROLLER_REVISIONS, name, patch, where, patch_type="merge")
            informer.observe(current)
    return History(current, tuple(one for one in ordered if meta.uid(one) != meta.uid(current)))


async def prune(client: Client, informer: Informer, history: History, in_use: Iterable[str], limit: int) -> None:
    """Delete what the history limit does not keep."""
    for one in surplus(history.old, in_use, limit):
        try:
            await client.delete(CONTROLLER_REVISIONS, meta.name(one), meta.namespace(one), uid=meta.uid(one))
        except StatusError as error:
            if error.code != 404:
                raise
        informer.observe_deleted(one)
