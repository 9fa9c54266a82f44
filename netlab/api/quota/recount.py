"""PURE. What a quota's status should say, from the objects that are there (pkg/controller/resourcequota)."""

from collections.abc import Iterable, Mapping

from netlab.api import meta
from netlab.api.quota.evaluators import tracked
from netlab.api.quota.lists import Amounts, add, mask
from netlab.api.quota.scopes import scopes_of
from netlab.api.types import Obj


def recount(quota: Obj, objects: Mapping[str, Iterable[Obj]], now: float) -> Obj:
    """The status: `hard` is the spec's, `used` is counted; `objects` are those of the namespace by group resource."""
    hard: Amounts = dict(meta.get(quota, "spec", "hard", default={}))
    used = dict(meta.get(quota, "status", "used", default={}))
    scopes = scopes_of(quota)
    for evaluator in tracked(hard):
        total = dict.fromkeys(evaluator.measures(hard), "0")
        for obj in objects.get(evaluator.group_resource, ()):
            if all(evaluator.in_scope(scope, obj) for scope in scopes):
                total = add(total, mask(evaluator.usage(obj, now), total))
        used.update(total)
    used = mask(used, hard)
    return {"hard": hard, "used": {name: used[name] for name in sorted(used)}}
