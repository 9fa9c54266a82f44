"""Lists and watches: selection, pages, snapshots, resumption, bookmarks, expiry."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod

TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path, bookmark_seconds=0.05) as made:
        yield made


def names(listed: dict) -> list[str]:  # type: ignore[type-arg]
    return [item["metadata"]["name"] for item in listed["items"]]


async def test_lists_are_ordered_typed_and_carry_no_kind_in_items(server: Harness) -> None:
    for name in ("b", "a"):
        await server.ok("POST", CMS, config_map(name))
    listed = await server.ok("GET", CMS)
    assert (listed["kind"], listed["apiVersion"], names(listed)) == ("ConfigMapList", "v1", ["a", "b"])
    assert "kind" not in listed["items"][0]
    everywhere = await server.ok("GET", "/api/v1/configmaps")
    tracking = "kube-apiserver-legacy-service-account-token-tracking"
    assert names(everywhere) == ["a", "b", "extension-apiserver-authentication", tracking]
    assert (await server.ok("GET", "/api/v1/secrets"))["items"] == []


async def test_pages_are_one_snapshot(server: Harness) -> None:
    for name in "abcde":
        await server.ok("POST", CMS, config_map(name))
    first = await server.ok("GET", f"{CMS}?limit=2")
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["a", "b"], 3)
    await server.ok("DELETE", f"{CMS}/c")
    await server.ok("POST", CMS, config_map("bb"))
    rest = await server.ok("GET", f"{CMS}?limit=3&continue={first['metadata']['continue']}")
    assert names(rest) == ["c", "d", "e"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in rest["metadata"]


async def test_a_page_of_a_selection_has_no_count_of_the_rest(server: Harness) -> None:
    for name in "abcd":
        await server.ok("POST", CMS, config_map(name, {"odd": str(name in "ac").lower()}))
    first = await server.ok("GET", f"{CMS}?limit=1&labelSelector=odd=true")
    assert names(first) == ["a"]
    assert "remainingItemCount" not in first["metadata"]
    rest = await server.ok("GET", f"{CMS}?limit=1&labelSelector=odd=true&continue={first['metadata']['continue']}")
    assert (names(rest), "continue" in rest["metadata"]) == (["c"], False)


async def test_an_expired_page_says_how_to_go_on(server: Harness) -> None:
    for name in "abc":
        await server.ok("POST", CMS, config_map(name))
    first = await server.ok("GET", f"{CMS}?limit=1")
    changed = await server.ok("PATCH", f"{CMS}/a", {"data": {"x": "y"}}, headers=MERGE)
    server.api.store.compact(int(changed["metadata"]["resourceVersion"]))
    code, status = await server.call("GET", f"{CMS}?limit=1&continue={first['metadata']['continue']}")
    assert (code, status["reason"]) == (410, "Expired")
    again = await server.ok("GET", f"{CMS}?continue={status['metadata']['continue']}")
    assert names(again) == ["b", "c"]


@pytest.mark.parametrize(
    "query, want",
    [
        ("labelSelector=app=x", ["a", "b"]),
        ("labelSelector=app in (x,y),!tier", ["a", "c"]),
        ("labelSelector=app!=x", ["c", "d"]),
        ("fieldSelector=metadata.name=b", ["b"]),
        ("fieldSelector=metadata.name!=b", ["a", "c", "d"]),
        ("fieldSelector=metadata.namespace=other", []),
    ],
)
async def test_selectors(server: Harness, query: str, want: list[str]) -> None:
    labels = {"a": {"app": "x"}, "b": {"app": "x", "tier": "1"}, "c": {"app": "y"}, "d": {}}
    for name, found in labels.items():
        await server.ok("POST", CMS, config_map(name, found))
    assert names(await server.ok("GET", f"{CMS}?{query}")) == want


async def test_selectors_that_cannot_be_are_400(server: Harness) -> None:
    assert (await server.refused("GET", f"{CMS}?labelSelector=a=(b"))[:2] == (400, "BadRequest")
    message = (await server.refused("GET", f"{PODS}?fieldSelector=spec.nope=1"))[2]
    assert "field label not supported" in message


async def test_a_list_at_an_exact_version_is_the_past(server: Harness) -> None:
    made = await server.ok("POST", CMS, config_map("a"))
    await server.ok("POST", CMS, config_map("b"))
    version = made["metadata"]["resourceVersion"]
    past = await server.ok("GET", f"{CMS}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert (names(past), past["metadata"]["resourceVersion"]) == (["a"], version)
    assert names(await server.ok("GET", f"{CMS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan")) == [
        "a",
        "b",
    ]
    code, _, message = await server.refused("GET", f"{CMS}?resourceVersion=99999")
    assert code == 504
    assert message.startswith("Too large resource version: 99999")
    assert (await server.refused("GET", f"{CMS}?resourceVersion=x"))[0] == 422
    assert (await server.refused("GET", f"{CMS}?resourceVersionMatch=Exact"))[0] == 422


async def test_a_watch_tells_what_is_there_and_what_changes(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a"))
    listener = await server.watch(CMS)
    await server.ok("POST", CMS, config_map("b"))
    await server.ok("PATCH", f"{CMS}/a", {"data": {"x": "y"}}, headers=MERGE)
    await server.ok("DELETE", f"{CMS}/b")
    await listener.until(4)
    assert listener.seen() == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in listener.events]
    assert versions == sorted(versions)


async def test_a_watch_resumes_where_it_is_told_to(server: Harness) -> None:
    made = await server.ok("POST", CMS, config_map("a"))
    await server.ok("POST", CMS, config_map("b"))
    await server.ok("DELETE", f"{CMS}/a")
    listener = await server.watch(f"{CMS}?resourceVersion={made['metadata']['resourceVersion']}")
    await server.ok("POST", CMS, config_map("c"))
    await listener.until(3)
    assert listener.seen() == [("ADDED", "b"), ("DELETED", "a"), ("ADDED", "c")]


async def test_a_watch_from_a_forgotten_version_is_told_410(server: Harness) -> None:
    made = await server.ok("POST", CMS, config_map("a"))
    changed = await server.ok("PATCH", f"{CMS}/a", {"data": {"x": "y"}}, headers=MERGE)
    server.api.store.compact(int(changed["metadata"]["resourceVersion"]))
    listener = await server.watch(f"{CMS}?resourceVersion={made['metadata']['resourceVersion']}")
    error = (await listener.until(1))[0]
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert listener.task is not None
    await asyncio.wait_for(listener.task, 5)


async def test_selection_makes_objects_appear_and_disappear(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a", {"app": "x"}))
    listener = await server.watch(f"{CMS}?labelSelector=app=x")
    await server.ok("PATCH", f"{CMS}/a", {"metadata": {"labels": {"app": "y"}}}, headers=MERGE)
    await server.ok("PATCH", f"{CMS}/a", {"data": {"x": "y"}}, headers=MERGE)
    back = await server.ok("PATCH", f"{CMS}/a", {"metadata": {"labels": {"app": "x"}}}, headers=MERGE)
    await listener.until(3)
    assert listener.seen() == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    left = listener.events[1]["object"]
    assert left["metadata"]["labels"] == {"app": "x"}
    assert int(left["metadata"]["resourceVersion"]) == int(back["metadata"]["resourceVersion"]) - 2


async def test_watches_of_one_node_one_namespace_one_object(server: Harness) -> None:
    await server.ok("POST", ACCOUNTS, account("default"))
    await server.ok("POST", "/api/v1/namespaces/kube-system/serviceaccounts", account("default"))
    here = await server.watch("/api/v1/pods?fieldSelector=spec.nodeName=n1")
    there = await server.watch("/api/v1/pods?fieldSelector=spec.nodeName=n2")
    system = await server.watch("/api/v1/namespaces/kube-system/pods")
    single = await server.watch(f"{PODS}?fieldSelector=metadata.name=b")
    every = await server.watch("/api/v1/pods")
    await server.ok("POST", PODS, pod("a", node="n1"))
    await server.ok("POST", PODS, pod("b"))
    await server.ok("POST", "/api/v1/namespaces/kube-system/pods", pod("b", node="n2"))
    binding = {"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n1"}}
    await server.ok("POST", f"{PODS}/b/binding", binding)
    await every.until(4)
    assert here.seen() == [("ADDED", "a"), ("ADDED", "b")]
    assert there.seen() == [("ADDED", "b")]
    assert system.seen() == [("ADDED", "b")]
    assert single.seen() == [("ADDED", "b"), ("MODIFIED", "b")]


async def test_equal_watchers_share_their_bytes(server: Harness) -> None:
    listeners = [await server.watch(CMS) for _ in range(3)]
    await server.ok("POST", CMS, config_map("a"))
    for listener in listeners:
        await listener.until(1)
    hub = server.api.hubs.of(next(iter(server.api.hubs._hubs.values())).stored)
    channels = [c for h in server.api.hubs._hubs.values() for c in h._channels.values()]
    assert [len(channel.sinks) for channel in channels] == [3]
    assert hub is not None
    for listener in listeners:
        assert listener.task is not None
        listener.task.cancel()
    await asyncio.sleep(0)
    assert not any(h._channels or h._places for h in server.api.hubs._hubs.values())


async def test_bookmarks_come_when_they_are_asked_for(server: Harness) -> None:
    listener = await server.watch(f"{CMS}?allowWatchBookmarks=true&resourceVersion=0")
    bookmark = (await listener.until(1))[0]
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(server.api.store.revision)
    assert bookmark["object"]["kind"] == "ConfigMap"


async def test_initial_events_end_with_a_marked_bookmark(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a"))
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    listener = await server.watch(f"{CMS}?{query}")
    events = await listener.until(2)
    assert [event["type"] for event in events[:2]] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_ends_when_its_time_is_up(server: Harness) -> None:
    listener = await server.watch(f"{CMS}?timeoutSeconds=1")
    assert listener.task is not None
    await asyncio.wait_for(listener.task, 10)


async def test_a_watcher_that_does_not_read_is_let_go(server: Harness) -> None:
    listener = await server.watch(CMS)
    listener.buffered = 1 << 30
    await server.ok("POST", CMS, config_map("a"))
    async with asyncio.timeout(5):
        while not listener.closed:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert listener.events == []


async def test_tables_in_lists_and_watches(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a", x="1", y="2"))
    table = await server.ok("GET", CMS, headers=TABLE)
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 2]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    listener = await server.watch(CMS, headers=TABLE)
    await server.ok("POST", CMS, config_map("b"))
    events = await listener.until(2)
    assert [bool(event["object"]["columnDefinitions"]) for event in events] == [True, False]
    empty = await server.watch(f"{CMS}?labelSelector=none=such", headers=TABLE)
    await server.ok("POST", CMS, config_map("c", {"none": "such"}))
    assert (await empty.until(1))[0]["object"]["columnDefinitions"]


async def test_metadata_only(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a", x="1"))
    headers = {"accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    listed = await server.ok("GET", CMS, headers=headers)
    assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_versions_of_one_kind_share_their_objects(server: Harness) -> None:
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    body = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "metadata": {"name": "a"}, "spec": spec}
    made = await server.ok("POST", path.format("v1"), body)
    assert made["apiVersion"] == "autoscaling/v1"
    assert made["spec"]["targetCPUUtilizationPercentage"] == 50
    newer = await server.ok("GET", path.format("v2") + "/a")
    assert newer["apiVersion"] == "autoscaling/v2"
    assert newer["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 50}
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "R",
        "message": "m",
        "type": "Normal",
    }
    await server.ok("POST", "/api/v1/namespaces/default/events", event)
    newer = await server.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert (newer["note"], newer["regarding"]["name"]) == ("m", "p")
    listed = await server.ok("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=p")
    assert names(listed) == ["e"]
