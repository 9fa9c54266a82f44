"""The JSON forms of what spec.py defines."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from netlab.sandbox.spec import ExitEvent, ExitInfo, MountSpec, ProcessInfo, ProcessSpec, RootFs

_FIELDS = tuple(field.name for field in dataclasses.fields(ProcessSpec))
_MOUNT_FIELDS = tuple(field.name for field in dataclasses.fields(MountSpec))


def spec_data(spec: ProcessSpec) -> dict[str, Any]:
    """A spec, defaults left out. `capabilities` distinguishes None (keep all) from none at all."""
    data: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(spec, name)
        if name == "capabilities":
            if value is not None:
                data[name] = sorted(value)
        elif name == "rootfs":
            if value is not None:
                data[name] = _root_data(value)
        elif value is not None and value != () and value != "" and value is not False:
            if isinstance(value, frozenset):
                value = sorted(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            if value:
                data[name] = value
    return data


def _root_data(root: RootFs) -> dict[str, Any]:
    mounts = [{name: getattr(mount, name) for name in _MOUNT_FIELDS} for mount in root.mounts]
    return {"lower": root.lower, "layer": root.layer, "mounts": mounts, "read_only": root.read_only}


def exit_info(data: dict[str, Any] | None) -> ExitInfo | None:
    return None if data is None else ExitInfo(**data)


def process_info(data: dict[str, Any]) -> ProcessInfo:
    return ProcessInfo(
        data["id"], data["pid"], data["started_at"], exit_info(data["exit"]), data["meta"], data["starts"]
    )


def exit_event(data: dict[str, Any]) -> ExitEvent:
    return ExitEvent(data["id"], data["pid"], ExitInfo(**data["exit"]), data["meta"], data["restarting"])
