"""Durations, lists, labels and selectors as people read them (apimachinery pkg/util/duration, pkg/labels)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from netlab.api import labels, meta
from netlab.api.types import Obj

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 24, 365


def duration(seconds: float) -> str:
    """`47s`, `3m20s`, `5h12m`, `2d3h`, `400d`, `3y2d`: at most two units, fewer the longer it is."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -1 else "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    minutes = whole // _MINUTE
    if minutes < 10:
        return _two(minutes, "m", whole % _MINUTE, "s")
    if minutes < 3 * 60:
        return f"{minutes}m"
    hours = whole // _HOUR
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 2 * _DAY:
        return f"{hours}h"
    days = hours // _DAY
    if days < 8:
        return _two(days, "d", hours % _DAY, "h")
    if days < 2 * _YEAR:
        return f"{days}d"
    if days < 8 * _YEAR:
        return _two(days // _YEAR, "y", days % _YEAR, "d")
    return f"{days // _YEAR}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


@lru_cache(maxsize=8192)
def _seconds(timestamp: str) -> float | None:
    try:
        return meta.parse_time(timestamp)
    except ValueError:
        return None


def since(timestamp: str | None, now: float) -> str:
    """How long ago a time was; `<unknown>` where there is none."""
    then = _seconds(timestamp) if timestamp else None
    return UNKNOWN if then is None else duration(now - then)


def between(start: str, end: str) -> str:
    """The time between two times."""
    first, last = _seconds(start), _seconds(end)
    return UNKNOWN if first is None or last is None else duration(last - first)


def age(obj: Obj, now: float) -> str:
    """How long ago the object was created."""
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def format_labels(values: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, sorted; `<none>` where empty."""
    return ",".join(f"{k}={v}" for k, v in sorted((values or {}).items())) or NONE


def format_selector(selector: Obj | None) -> str:
    """A LabelSelector in query syntax; `<none>` where empty."""
    return selector_query(selector) or NONE


def selector_query(selector: Obj | None) -> str:
    """A LabelSelector in query syntax, sorted by key; "" where empty."""
    try:
        terms = labels.from_label_selector(selector).requirements
    except (labels.SelectorError, KeyError, TypeError):
        return "<error>"
    return ",".join(str(term) for term in sorted(terms, key=lambda term: term.key))


def containers(pod_spec: Obj | None) -> list[str]:
    """[names, images] of a pod spec's containers, each joined by commas."""
    listed = (pod_spec or {}).get("containers") or []
    names = ",".join(str(c.get("name") or "") for c in listed)
    return [names, ",".join(str(c.get("image") or "") for c in listed)]


def template_containers(obj: Obj) -> list[str]:
    """[names, images] of spec.template."""
    return containers(meta.get(obj, "spec", "template", "spec"))


def with_more(items: list[str], shown: int = 3) -> str:
    """The first few, joined by commas, and `+ n more...`; "" where there are none."""
    text = ",".join(items[:shown])
    return f"{text} + {len(items) - shown} more..." if len(items) > shown else text


def number(obj: Any, *path: str) -> int:
    """The number at a path, 0 where missing."""
    value = meta.get(obj, *path, default=0)
    return value if isinstance(value, int) else 0


def text(obj: Any, *path: str, default: str = "") -> str:
    """The text at a path, `default` where missing or empty."""
    return str(meta.get(obj, *path, default=default) or default)


def comma(values: Iterable[Any] | None) -> str:
    """Joined by commas."""
    return ",".join(str(v) for v in values or ())
