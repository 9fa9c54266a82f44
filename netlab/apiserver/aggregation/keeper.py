"""Keeps APIServices: makes those of local groups, asks the remote ones, and writes what is found into their status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from netlab.api import errors, meta
from netlab.api.resources import get
from netlab.api.types import Obj
from netlab.apiserver import lifecycle
from netlab.apiserver.aggregation import local
from netlab.apiserver.aggregation.asking import AskError, Asking
from netlab.apiserver.aggregation.availability import PASSED, Verdict, address, judge, server_name
from netlab.apiserver.aggregation.remotes import COLLECTION, Remote
from netlab.apiserver.api import Api
from netlab.apiserver.storage import load
from netlab.apiserver.writing import Conflict, NotFound, write_changed, write_gone, write_new
from netlab.store import Event, StoreError

log = logging.getLogger("netlab.apiserver")

_KIND = get("apiregistration.k8s.io/v1", "APIService")
CHECK_SECONDS = 30.0
"""How often one that answered is asked again, as upstream's resync."""
RETRY_SECONDS = (0.2, 5.0)
"""First and longest wait before one that did not answer is asked again."""
MUCH_LATER = float("inf")
_WATCHED = (COLLECTION, "services", "endpointslices.discovery.k8s.io")


def follow(api: Api) -> None:
    """Send requests where the stored APIServices say, from now on."""

    def renew(events: Sequence[Event]) -> None:
        api.remotes.renew(api.read_all("apiregistration.k8s.io/v1", "APIService", ""))

    renew(())
    api.store.subscribe(COLLECTION, renew)


async def distrust(api: Api) -> None:
    """What was said of remote servers before this one started is not known to be so; they are asked at once."""
    await asyncio.gather(*(_write(api, remote.name, _unknown(remote)) for remote in api.remotes))


def _unknown(remote: Remote) -> Verdict:
    where = f"https://{server_name(remote)}:{remote.port}{remote.path}"
    return "False", "FailedDiscoveryCheck", f"failing or missing response from {where}: not asked since the start"


async def keep(api: Api) -> None:
    """Until cancelled."""
    await asyncio.gather(_keep_local(api), _keep_remote(api))


async def _keep_local(api: Api) -> None:
    """Local groups have their APIService, custom ones only as long as they are defined."""
    wake = asyncio.Event()
    wake.set()
    collections = (COLLECTION, "customresourcedefinitions.apiextensions.k8s.io")
    leave = [api.store.subscribe(one, lambda events: wake.set()) for one in collections]
    try:
        while True:
            await wake.wait()
            wake.clear()
            try:
                await _settle_local(api)
            except (Conflict, NotFound):
                wake.set()
            except (errors.StatusError, StoreError) as error:
                log.warning("APIServices: %s", error)
            await asyncio.sleep(0.1)
    finally:
        for end in leave:
            end()


async def _settle_local(api: Api) -> None:
    wanted = local.services(api.registry)
    there = {meta.name(one): one for one in api.read_all("apiregistration.k8s.io/v1", "APIService", "")}
    missing = [one for name, one in wanted.items() if name not in there]
    await asyncio.gather(*(_create(api, one) for one in missing))
    for name, service in there.items():
        if local.AUTOMANAGED in meta.labels(service) and name not in wanted:
            await _remove(api, name)
        elif not service["spec"].get("service") and _verdict(service) != local.CONDITION:
            await _write(api, name, local.CONDITION)


async def _create(api: Api, service: Obj) -> None:
    """With its condition: it is available as soon as it is there."""
    stamp = meta.now_rfc3339(api.clock)
    lifecycle.prepare_new(service, _KIND, stamp)
    service["status"] = _status(local.CONDITION, stamp)
    try:
        await write_new(api, api.stored(_KIND), _KIND, service)
    except errors.StatusError as error:
        if error.reason != "AlreadyExists":
            raise


async def _remove(api: Api, name: str) -> None:
    stored = api.stored(_KIND)
    item = api.store.latest(stored.key("", name))
    if item is not None:
        await write_gone(api, stored, _KIND, load(item, stored), item.revision)


def _status(verdict: Verdict, stamp: str) -> Obj:
    status, reason, message = verdict
    found = {"type": "Available", "status": status, "lastTransitionTime": stamp, "reason": reason, "message": message}
    return {"conditions": [found]}


def _verdict(service: Obj) -> Verdict | None:
    found = meta.condition(service, "Available")
    return (found["status"], found.get("reason", ""), found.get("message", "")) if found is not None else None


async def _write(api: Api, name: str, verdict: Verdict) -> None:
    """Write the condition where it is another; its time is when its status changed."""
    stored = api.stored(_KIND)
    item = api.store.latest(stored.key("", name))
    if item is None:
        return
    service = load(item, stored)
    if _verdict(service) == verdict:
        return
    new = _status(verdict, meta.now_rfc3339(api.clock))["conditions"][0]
    old = meta.condition(service, "Available")
    if old is not None and old["status"] == new["status"]:
        new["lastTransitionTime"] = old["lastTransitionTime"]
    others = [one for one in meta.get(service, "status", "conditions", default=[]) if one["type"] != "Available"]
    service["status"] = {**(service.get("status") or {}), "conditions": [*others, new]}
    await write_changed(api, stored, _KIND, service, item.revision)


@dataclass(slots=True)
class _Due:
    """When a remote is asked next, and how long to wait should it fail again."""

    at: float = 0.0
    wait: float = RETRY_SECONDS[0]
    mark: tuple[str, str] = ("", "")


async def _keep_remote(api: Api) -> None:
    """Ask every remote when it is new, when its Service or endpoints change, and now and then."""
    wake, loop = asyncio.Event(), asyncio.get_running_loop()
    due: dict[str, _Due] = {}
    asking = Asking(api.pki)

    def changed(events: Sequence[Event]) -> None:
        if len(api.remotes):
            named = [(one.namespace, one.service, due.get(one.name)) for one in api.remotes]
            for namespace, service, known in named:
                if known is not None and any(f"/{namespace}/{service}" in event.item.key for event in events):
                    known.at = 0.0
            wake.set()

    leave = [api.store.subscribe(collection, changed) for collection in _WATCHED]
    try:
        while True:
            now = loop.time()
            for remote in api.remotes:
                known = due.setdefault(remote.name, _Due())
                if known.mark != remote.mark:
                    known.at, known.mark = 0.0, remote.mark
            turn = [(remote, due[remote.name]) for remote in api.remotes if due[remote.name].at <= now]
            for known in [known for _, known in turn]:
                known.at = MUCH_LATER
            answers = await asyncio.gather(*(_check(api, remote, asking) for remote, _ in turn))
            for (_, known), ok in zip(turn, answers, strict=True):
                known.wait = RETRY_SECONDS[0] if ok else min(known.wait * 2, RETRY_SECONDS[1])
                # unless something changed meanwhile
                known.at = min(known.at, loop.time() + (CHECK_SECONDS if ok else known.wait))
            names = {remote.name for remote in api.remotes}
            due = {name: known for name, known in due.items() if name in names}
            soonest = min((known.at for known in due.values()), default=None)
            wake.clear()
            try:
                await asyncio.wait_for(wake.wait(), None if soonest is None else max(0.0, soonest - loop.time()))
            except TimeoutError:
                continue
    finally:
        for end in leave:
            end()
        await asking.close()


async def _check(api: Api, remote: Remote, asking: Asking) -> bool:
    """Whether it answers; its condition says the same."""
    service = api.read("v1", "Service", remote.namespace, remote.service)
    slices = api.read_all("discovery.k8s.io/v1", "EndpointSlice", remote.namespace)
    verdict = judge(remote, service, slices)
    if verdict is None:
        place = address(remote, service)
        try:
            if place is None:
                raise AskError(f'service "{remote.service}" has no address')
            found = await asking.ask(remote, place)
            known = api.remotes.documents.get((remote.group, remote.version))
            if known is None or not known.same(found):
                # what is made of them is kept as long as they are
                api.remotes.documents[remote.group, remote.version] = found
            verdict = PASSED
        except AskError as error:
            verdict = ("False", "FailedDiscoveryCheck", str(error))
    try:
        await _write(api, remote.name, verdict)
    except (Conflict, NotFound):
        return False
    except (errors.StatusError, StoreError) as error:
        log.warning("APIService %s: %s", remote.name, error)
        return False
    return verdict == PASSED
