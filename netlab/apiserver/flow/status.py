"""FlowSchemas say in their status whether the level that they name exists (upstream's controller does it too).

Source followed: apiserver/pkg/util/flowcontrol/apf_controller.go (syncFlowSchemaStatuses).
"""

import asyncio
import logging

from netlab.api import errors, meta
from netlab.api.resources import get
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.flow.defaults import VERSION
from netlab.apiserver.storage import load
from netlab.apiserver.writing import Conflict, NotFound, write_changed

log = logging.getLogger("netlab.apiserver")

_PAUSE = 0.2


def dangling(level: str, *, exists: bool) -> Obj:
    """PURE. The condition, without its times."""
    named = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if exists:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{named} and it exists"}
    why = f"{named} but there is no such object"
    return {"type": "Dangling", "status": "True", "reason": "NotFound", "message": why}


async def keep_statuses(api: Api) -> None:
    """Until cancelled: look whenever a schema or level changed."""
    changed = asyncio.Event()
    changed.set()
    kinds = [api.stored(get(VERSION, kind)) for kind in ("FlowSchema", "PriorityLevelConfiguration")]
    leave = [api.store.subscribe(stored.collection, lambda _: changed.set()) for stored in kinds]
    try:
        while True:
            await changed.wait()
            changed.clear()
            await write_statuses(api)
            await asyncio.sleep(_PAUSE)
    finally:
        for end in leave:
            end()


async def write_statuses(api: Api) -> None:
    """Bring every schema's condition up to date."""
    resource = get(VERSION, "FlowSchema")
    stored = api.stored(resource)
    levels = {meta.name(level) for level in api.read_all(VERSION, "PriorityLevelConfiguration", "")}
    for item in list(api.store.list(stored.collection).items):
        latest = api.store.latest(item.key)
        if latest is None:
            continue
        schema = load(latest, stored)
        name = str(meta.get(schema, "spec", "priorityLevelConfiguration", "name", default=""))
        wanted = dangling(name, exists=name in levels)
        have = meta.condition(schema, "Dangling") or {}
        if all(have.get(key) == value for key, value in wanted.items()):
            continue
        conditions = schema.setdefault("status", {}).setdefault("conditions", [])
        meta.set_condition(conditions, wanted, meta.now_rfc3339(api.clock))
        try:
            await write_changed(api, stored, resource, schema, latest.revision)
        except (Conflict, NotFound):
            continue  # whoever changed it wakes us again
        except errors.StatusError as error:
            log.error("status of FlowSchema %s: %s", meta.name(schema), error)
