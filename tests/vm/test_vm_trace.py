"""`klab trace` in IPVS mode, on the stock kernel: what is predicted is what happens, for every cell of the table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from netlab.trace.gather import Place
from netlab.trace.session import Request, run
from tests.vm.test_vm_ipvs import (
    ADDRESSES,
    FLOWS,
    FULL,
    NOTHING,
    PODS,
    REFUSED,
    VIP,
    Network,
    api,
    in_network,
    running,
    service,
    slice_of,
)

pytestmark = pytest.mark.vm

PLACES = (
    Place("lan", "lan", "switches"),
    *(Place(name, name, "node") for name in ("here", "there")),
    Place("outside", "outside", "host"),
    *(Place(name, name, "pod", "there" if name == "far" else "here") for name in ("client", *PODS)),
)


def check(source: str, address: str, port: int, expected: set[str] | str) -> list[str]:
    """What is wrong with one trace, [] for nothing."""
    found = run(Request(PLACES, source, address, "tcp", port))
    what = f"{source} to {address}:{port}"
    if found["error"] or found["difference"]:
        return [f"{what}: {found['error']} {json.dumps(found['difference'])}"]
    verdict: dict[str, Any] = found["observed"]["verdict"]
    if expected == REFUSED:
        good = verdict["kind"] in ("rejected", "refused")
    elif expected == NOTHING:
        good = verdict["kind"] == "dropped"
    else:
        good = verdict["kind"] == "delivered" and verdict["place"] in expected
    return [] if good else [f"{what}: {verdict}"]


def test_prediction_is_observation_with_ipvs() -> None:
    async def body(net: Network) -> None:
        wrong: list[str] = []
        for title, spec, ready, rows in FLOWS:
            wrong += [f"{title}: {line}" for line in await one(net, spec, ready, rows)]
        assert not wrong, "\n".join(wrong)

    async def one(
        net: Network, spec: dict[str, Any], ready: set[str], rows: Sequence[tuple[str, str, set[str] | str, str]]
    ) -> list[str]:
        client = await api(service(**FULL, **spec) | VIP, slice_of(ready))
        wrong: list[str] = []
        async with running(net, client):
            for source, name, expected, _ in rows:
                wrong += await asyncio.to_thread(check, source, *ADDRESSES[name], expected)
        return wrong

    in_network(body)
