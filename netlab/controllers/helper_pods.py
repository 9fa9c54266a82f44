"""Pods that do one thing on a node for a controller, and go: make a directory, empty one."""

from __future__ import annotations

import asyncio
from asyncio import timeout as time_limit

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer
from netlab.client.kinds import PODS

_LOOK = 0.05
_ENDED = ("Succeeded", "Failed")


async def run(client: Client, pods: Informer, pod: Obj, timeout: float) -> None:
    """Create the pod (one of that name that is there already is taken for it), wait for its success, delete it.

    Raises OSError where it fails or takes longer than `timeout` seconds, StatusError where it cannot be created.
    """
    try:
        await client.create(PODS, pod)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
    try:
        async with time_limit(timeout):
            phase = await _end(pods, meta.key(pod))
    except TimeoutError:
        raise OSError(f"create process timeout after {timeout:g} seconds") from None
    finally:
        await _remove(client, pod)
    if phase != "Succeeded":
        raise OSError(f"helper pod {meta.key(pod)} failed")


async def _end(pods: Informer, key: str) -> str:
    """The phase in which the pod ended; "" where somebody deleted it."""
    seen = False
    while True:
        found = pods.store.get(key)
        phase = str(meta.get(found, "status", "phase", default="")) if found is not None else ""
        if phase in _ENDED or (found is None and seen):
            return phase
        seen = seen or found is not None
        await asyncio.sleep(_LOOK)


async def _remove(client: Client, pod: Obj) -> None:
    try:
        await client.delete(PODS, meta.name(pod), meta.namespace(pod))
    except StatusError as error:
        if error.code != 404:
            raise
