"""Priority levels: who waits, who is refused, and that a flood of one does not starve another."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import CMS, Harness, config_map, harness

from netlab.apiserver.flow.control import Rejected
from netlab.apiserver.flow.level import Level, Limits, hand_of
from netlab.apiserver.flow.status import write_statuses
from netlab.apiserver.late import make_late
from netlab.apiserver.wire.message import Response, User
from netlab.apiserver.wire.path import parse

Obj = dict[str, Any]
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
SCHEMAS, LEVELS = f"{FLOW}/flowschemas", f"{FLOW}/prioritylevelconfigurations"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        await make_late(made.api, 0)
        yield made


def limited(name: str, **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": spec}}


def schema(name: str, level: str, user: str, precedence: int = 50) -> Obj:
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    rules = [{"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [rule]}]
    spec = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules}
    return {"metadata": {"name": name}, "spec": {**spec, "distinguisherMethod": {"type": "ByUser"}}}


async def test_the_default_objects_are_there(server: Harness) -> None:
    names = {item["metadata"]["name"] for item in (await server.ok("GET", SCHEMAS))["items"]}
    assert {"exempt", "probes", "system-nodes", "service-accounts", "global-default", "catch-all"} <= names
    assert len(names) == 13
    levels = {item["metadata"]["name"]: item["spec"] for item in (await server.ok("GET", LEVELS))["items"]}
    assert len(levels) == 8 and levels["exempt"]["type"] == "Exempt"
    assert levels["workload-low"]["limited"]["nominalConcurrencyShares"] == 100
    assert levels["catch-all"]["limited"]["limitResponse"] == {"type": "Reject"}


ROWS = [
    ("admin", "system:masters", "GET", "/api/v1/pods", "exempt"),
    ("joe", "system:authenticated", "GET", "/healthz", "probes"),
    ("system:node:n", "system:nodes", "PATCH", "/api/v1/nodes/n/status", "system-node-high"),
    ("system:node:n", "system:nodes", "PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/n", "system-node-high"),
    ("system:node:n", "system:nodes", "GET", "/api/v1/namespaces/x/secrets/s", "system-nodes"),
    (
        "system:kube-scheduler",
        "system:authenticated",
        "PUT",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler",
        "system-leader-election",
    ),
    ("system:kube-scheduler", "system:authenticated", "GET", "/api/v1/pods", "kube-scheduler"),
    ("system:kube-controller-manager", "x", "GET", "/api/v1/namespaces/x/endpoints/e", "endpoint-controller"),
    ("system:serviceaccount:kube-system:a", "system:serviceaccounts", "GET", "/x", "kube-system-service-accounts"),
    ("system:serviceaccount:team:a", "system:serviceaccounts", "GET", "/x", "service-accounts"),
    ("joe", "system:authenticated", "GET", "/api/v1/pods", "global-default"),
    ("nobody", "no:group", "GET", "/api/v1/pods", "catch-all"),
]


@pytest.mark.parametrize(("user", "group", "method", "path", "want"), ROWS, ids=[f"{r[0]} {r[3]}" for r in ROWS])
async def test_which_schema(server: Harness, user: str, group: str, method: str, path: str, want: str) -> None:
    from netlab.apiserver.wire.message import Request

    request = Request(parse(method, path, False), method, {}, "", {}, user=User(user, (group,)))
    way = server.api.flow.way(request)
    assert way is not None and way.flow.partition("/")[0] == want


async def test_answers_name_their_schema_and_level(server: Harness) -> None:
    await server.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token="joe-token")
    schema_uid = (await server.ok("GET", f"{SCHEMAS}/global-default"))["metadata"]["uid"]
    level_uid = (await server.ok("GET", f"{LEVELS}/global-default"))["metadata"]["uid"]
    await server.call("GET", CMS, token="joe-token")
    assert server.headers["X-Kubernetes-Pf-Flowschema-Uid"] == schema_uid
    assert server.headers["X-Kubernetes-Pf-Prioritylevel-Uid"] == level_uid


async def test_a_full_level_answers_429_and_lets_the_exempt_through(server: Harness) -> None:
    spec = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}
    await server.ok("POST", LEVELS, limited("tiny", **spec))
    await server.ok("POST", SCHEMAS, schema("joe", "tiny", "joe"))
    level = server.api.flow.levels["tiny"]
    assert level.limits is not None
    while level.take():
        pass
    found = await server.raw("GET", "/api/v1/pods", token="joe-token")
    assert isinstance(found, Response)
    assert (found.code, found.body) == (429, b"Too many requests, please try again later.\n")
    assert found.headers["Retry-After"] == "1"
    await server.ok("GET", "/api/v1/pods")
    level.leave()
    assert (await server.refused("GET", "/api/v1/pods", token="joe-token"))[0] == 403


async def test_requests_wait_for_a_seat_and_get_it(server: Harness) -> None:
    queuing = {"queues": 8, "handSize": 2, "queueLengthLimit": 3}
    spec = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Queue", "queuing": queuing}}
    await server.ok("POST", LEVELS, limited("tiny", **spec))
    await server.ok("POST", SCHEMAS, schema("joe", "tiny", "joe"))
    level = server.api.flow.levels["tiny"]
    taken = 0
    while level.take():
        taken += 1
    calls = [asyncio.create_task(server.call("GET", "/api/v1/pods", token="joe-token")) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert level.waiting == 3 and not any(call.done() for call in calls)
    for _ in range(taken):
        level.leave()
    assert [code for code, _ in await asyncio.gather(*calls)] == [403] * 3
    assert level.waiting == 0 and level.executing == 0


async def test_a_flood_of_one_flow_does_not_starve_another() -> None:
    level = Level("l", Limits(1, 64, 4, 50))
    order: list[str] = []

    async def request(flow: str) -> None:
        if not level.take():
            await level.wait(flow, 5)
        order.append(flow)
        await asyncio.sleep(0)
        level.leave()

    flood = [asyncio.create_task(request("flood")) for _ in range(150)]
    await asyncio.sleep(0)
    quiet = [asyncio.create_task(request("quiet")) for _ in range(3)]
    await asyncio.gather(*flood, *quiet)
    # its hand has at most as many queues as the flood's: it is served among the first turns
    assert max(n for n, flow in enumerate(order) if flow == "quiet") < 30
    assert len(order) == 153 and level.executing == 0


async def test_queues_are_bounded_and_time_runs_out() -> None:
    level = Level("l", Limits(1, 1, 1, 2))
    assert level.take()
    waiting = [asyncio.create_task(level.wait("f", 0.05)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Rejected):
        await level.wait("f", 5)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Rejected) for one in found) and level.waiting == 0
    level.leave()
    assert level.executing == 0 and level.take()


async def test_a_caller_who_gives_up_leaves_no_trace() -> None:
    level = Level("l", Limits(1, 1, 1, 9))
    level.take()
    first, second = (asyncio.create_task(level.wait("f", 5)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    level.leave()
    await second
    assert level.executing == 1 and level.waiting == 0


def test_hands_are_stable_different_and_within_the_deck() -> None:
    hands = {hand_of(f"flow{n}", 64, 6) for n in range(200)}
    assert len(hands) > 190
    assert all(len(set(hand)) == 6 and max(hand) < 64 for hand in hands)
    assert hand_of("a", 64, 6) == hand_of("a", 64, 6) and len(hand_of("a", 3, 6)) == 3


async def test_cluster_info_may_be_read_without_credentials(server: Harness) -> None:
    url = "/api/v1/namespaces/kube-public/configmaps"
    found = await server.ok("GET", f"{url}/cluster-info", token="")
    assert "certificate-authority-data" in found["data"]["kubeconfig"]
    await server.ok("POST", url, config_map("other"))
    assert (await server.refused("GET", f"{url}/other", token=""))[0] == 403


async def test_schemas_say_whether_their_level_exists(server: Harness) -> None:
    await server.ok("POST", SCHEMAS, schema("joe", "none", "joe"))
    await write_statuses(server.api)

    async def dangling(name: str) -> Obj:
        found: Obj = (await server.ok("GET", f"{SCHEMAS}/{name}"))["status"]["conditions"][0]
        return {key: found[key] for key in ("type", "status", "reason", "message")}

    named = "This FlowSchema references the PriorityLevelConfiguration object named"
    assert await dangling("exempt") == {
        "type": "Dangling",
        "status": "False",
        "reason": "Found",
        "message": f'{named} "exempt" and it exists',
    }
    assert (await dangling("joe"))["message"] == f'{named} "none" but there is no such object'
    await server.ok("POST", LEVELS, limited("none", nominalConcurrencyShares=1, limitResponse={"type": "Reject"}))
    await write_statuses(server.api)
    assert (await dangling("joe"))["reason"] == "Found"
