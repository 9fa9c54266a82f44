"""The JSON forms of what spec.py defines."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from netlab.sandbox.spec import ExitEvent, ExitInfo, ProcessInfo, ProcessSpec


def spec_data(spec: ProcessSpec) -> dict[str, Any]:
    """A spec, defaults left out. `capabilities` distinguishes None (keep all) from none at all."""
    data: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name == "capabilities":
            if value is not None:
                data[field.name] = sorted(value)
        elif isinstance(value, frozenset):
            if value:
                data[field.name] = sorted(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            data[field.name] = dataclasses.asdict(value)
        elif isinstance(value, Mapping):
            if value:
                data[field.name] = dict(value)
        elif value is not None and value != () and value != "" and value is not False:
            data[field.name] = value
    return data


def exit_info(data: dict[str, Any] | None) -> ExitInfo | None:
    return None if data is None else ExitInfo(**data)


def process_info(data: dict[str, Any]) -> ProcessInfo:
    return ProcessInfo(
        data["id"], data["pid"], data["started_at"], exit_info(data["exit"]), data["meta"], data["starts"]
    )


def exit_event(data: dict[str, Any]) -> ExitEvent:
    return ExitEvent(data["id"], data["pid"], ExitInfo(**data["exit"]), data["meta"], data["restarting"])
