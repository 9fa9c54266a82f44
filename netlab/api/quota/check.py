"""PURE. Whether an object may still be written (CheckRequest of apiserver/pkg/admission/plugin/resourcequota)."""

from collections.abc import Sequence

from netlab.api import meta
from netlab.api.quota.evaluators import Evaluator
from netlab.api.quota.lists import Amounts, add, exceeded, mask, negative, shown, subtract, without_zeros
from netlab.api.quota.scopes import scopes_of
from netlab.api.types import Obj


class QuotaRefusal(Exception):  # noqa: N818
    """str() is upstream's reason."""


def matches(quota: Obj, evaluator: Evaluator, obj: Obj) -> bool:
    """Whether a quota counts an object: it limits something that the kind uses, and every scope fits."""
    if not evaluator.measures(meta.get(quota, "status", "hard", default={})):
        return False
    return all(evaluator.in_scope(scope, obj) for scope in scopes_of(quota))


def check(
    quotas: Sequence[Obj], evaluator: Evaluator, new: Obj, old: Obj | None, now: float, *, enforced: bool = True
) -> dict[str, Amounts]:
    """Name of quota → its new `status.used`, for each quota that the change counts against.

    `old` is the object before an update. Unless `enforced`, nothing is too much. Raises QuotaRefusal.
    """
    concerned = []
    for quota in quotas:
        if not matches(quota, evaluator, new):
            continue
        _judge(quota, evaluator, new)
        concerned.append(quota)
    if not concerned:
        return {}
    usage = evaluator.usage(new, now)
    if below := negative(usage):
        raise QuotaRefusal(f"quota usage is negative for resource(s): {','.join(sorted(below))}")
    found: dict[str, Amounts] = {}
    for quota in concerned:
        delta = usage
        if old is not None and matches(quota, evaluator, old):
            delta = subtract(usage, evaluator.usage(old, now))
        if delta := without_zeros(delta):
            found[meta.name(quota)] = _charged(quota, delta, enforced)
    return found


def _judge(quota: Obj, evaluator: Evaluator, obj: Obj) -> None:
    """The object names what the quota limits, and the quota has been counted."""
    status = quota.get("status") or {}
    names = evaluator.measures(status.get("hard") or {})
    if why := evaluator.missing(names, obj):
        raise QuotaRefusal(f"failed quota: {meta.name(quota)}: {why}")
    if not set(names) <= set(status.get("used") or {}):
        raise QuotaRefusal(f"status unknown for quota: {meta.name(quota)}, resources: {','.join(sorted(names))}")


def _charged(quota: Obj, delta: Amounts, enforced: bool) -> Amounts:
    status = quota["status"]
    hard, used = status["hard"], status.get("used") or {}
    requested = mask(delta, hard)
    total = add(used, requested)
    over = exceeded(mask(total, requested), hard) if enforced else []
    if over:
        parts = (("requested", requested), ("used", used), ("limited", hard))
        listed = ", ".join(f"{word}: {shown(mask(amounts, over))}" for word, amounts in parts)
        raise QuotaRefusal(f"exceeded quota: {meta.name(quota)}, {listed}")
    return total
