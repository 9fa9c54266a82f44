"""Custom resources: the columns that their definition declares (additionalPrinterColumns), by simple JSON paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.model import AGE, NAME, Column, Printer
from netlab.api.types import Obj
from netlab.api.validation.gofmt import go_print

_STEP = re.compile(
    r"""\.?(?P<key>[A-Za-z_$@][\w$@-]*)|\.?\[(?P<index>-?\d+|\*)\]|\.?\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\.?\[\?\(@\.(?P<field>[\w.-]+)\s*==\s*(?P<quote>['"])(?P<value>[^'"]*)(?P=quote)\)\]""",
)
_UNESCAPED_DOT = re.compile(r"\\\.")
_PLACEHOLDER = "\x00"


def find(obj: Any, path: str) -> list[Any]:
    """Every value at a JSON path as printer columns use them (`.status.conditions[?(@.type=="Ready")].status`)."""
    text = _UNESCAPED_DOT.sub(_PLACEHOLDER, path.strip().strip("{}"))
    values, position = [obj], 0
    while position < len(text):
        match = _match_step(text, position)
        if match is None:
            return []
        step, position = match
        values = [inner for value in values for inner in _take(value, step)]
    return values


def _match_step(text: str, position: int) -> tuple[dict[str, str | None], int] | None:
    if _PLACEHOLDER in text[position:]:  # keys with escaped dots: take up to the next plain separator
        plain = re.compile(r"\.([^.\[]+)").match(text, position)
        if plain is not None and _PLACEHOLDER in plain[1]:
            key = plain[1].replace(_PLACEHOLDER, ".")
            return {"key": key, "index": None, "quoted": None, "field": None, "value": None}, plain.end()
    match = _STEP.match(text, position)
    return (match.groupdict(), match.end()) if match else None


def _take(value: Any, step: dict[str, str | None]) -> list[Any]:
    key = step["key"] or step["quoted"]
    if key is not None:
        return [value[key]] if isinstance(value, dict) and key in value else []
    if not isinstance(value, list):
        return []
    if step["field"] is not None:
        path = step["field"].split(".")
        return [item for item in value if str(meta.get(item, *path, default="")) == step["value"]]
    if step["index"] == "*":
        return value
    index = int(step["index"] or 0)
    return [value[index]] if -len(value) <= index < len(value) else []


def _cell(obj: Obj, path: str, kind: str, now: float) -> Any:
    values = find(obj, path)
    if not values:
        return None
    value = values[0]
    match kind:
        case "date":
            return human.since(value if isinstance(value, str) else None, now)
        case "integer":
            return int(value) if isinstance(value, int | float) else None
        case "number":
            return value if isinstance(value, int | float) else None
        case "boolean":
            return value if isinstance(value, bool) else None
    return value if isinstance(value, str) else go_print(value)


def custom_printer(extra: Sequence[Obj] | None) -> Printer:
    """The printer of a custom resource: name, then its own columns, or name and age where it has none."""
    if not extra:
        return Printer((NAME, AGE), lambda obj, now: [meta.name(obj), human.age(obj, now)])
    columns = [
        Column(
            column["name"],
            column.get("type", "string"),
            column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            form=column.get("format", ""),
            wide=bool(column.get("priority")),
        )
        for column in extra
    ]
    paths = [(column["jsonPath"], column.get("type", "string")) for column in extra]
    return Printer(
        (NAME, *columns),
        lambda obj, now: [meta.name(obj), *(_cell(obj, path, kind, now) for path, kind in paths)],
    )
