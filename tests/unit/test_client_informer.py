"""Informers: what they hold and report, whatever happens to the server."""

from typing import Any

import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.informer import Informer
from netlab.client.kinds import CONFIG_MAPS, PODS


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


async def started(api: FakeApi, **kwargs: Any) -> tuple[Informer, list[str]]:
    seen: list[str] = []
    informer = Informer(Client(api), CONFIG_MAPS, **kwargs)
    informer.add_handler(
        lambda obj: seen.append(f"+{obj['metadata']['name']}"),
        lambda old, new: seen.append(f"~{new['metadata']['name']}"),
        lambda obj: seen.append(f"-{obj['metadata']['name']}"),
    )
    await informer.wait_synced(5)
    return informer, seen


async def test_lists_then_follows_changes(api: FakeApi) -> None:
    api.add(config_map("a"))
    informer, seen = await started(api)
    client = Client(api)
    await client.create(CONFIG_MAPS, config_map("b"))
    await client.patch(CONFIG_MAPS, "a", {"data": {"k": "v"}}, "default")
    await client.delete(CONFIG_MAPS, "b", "default")
    await eventually(lambda: "-b" in seen, "deletion of b seen")
    assert seen == ["+a", "+b", "~a", "-b"]
    assert informer.store["default/a"]["data"] == {"k": "v"}
    assert informer.store["default/a"]["kind"] == "ConfigMap"
    await informer.stop()


async def test_resumes_without_missing_or_repeating_when_the_watch_drops(api: FakeApi) -> None:
    informer, seen = await started(api)
    api.drop_watches()
    api.add(config_map("a"))
    await eventually(lambda: seen == ["+a"], "a seen once")
    assert sum(1 for method, _ in api.requests if method == "GET") == 1
    await informer.stop()


async def test_lists_anew_after_compaction_and_reports_only_differences(api: FakeApi) -> None:
    api.add(config_map("stays"))
    api.add(config_map("goes"))
    informer, seen = await started(api)
    api.up = False
    api.drop_watches()
    api.remove(CONFIG_MAPS, "default/goes")
    api.add(config_map("comes"))
    api.compact()
    api.up = True
    await eventually(lambda: "+comes" in seen, "comes seen")
    assert sorted(seen[2:]) == ["+comes", "-goes"]
    await informer.stop()


async def test_a_namesake_with_another_uid_is_a_deletion_and_an_addition(api: FakeApi) -> None:
    api.add(config_map("a"))
    informer, seen = await started(api)
    api.up = False
    api.drop_watches()
    api.remove(CONFIG_MAPS, "default/a")
    api.add(config_map("a", other="yes"))
    api.compact()
    api.up = True
    await eventually(lambda: len(seen) == 3, "both seen")
    assert seen == ["+a", "-a", "+a"]
    await informer.stop()


async def test_indexes_follow_updates_and_deletions(api: FakeApi) -> None:
    informer = Informer(Client(api), PODS)
    informer.add_index("node", lambda pod: [pod["spec"].get("nodeName", "")])
    api.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {}})
    await informer.wait_synced(5)
    assert [p["metadata"]["name"] for p in informer.by_index("node", "")] == ["p"]
    api.modify(PODS, "default/p", {"spec": {"nodeName": "n1"}})
    await eventually(lambda: bool(informer.by_index("node", "n1")), "p on n1")
    assert informer.by_index("node", "") == []
    api.remove(PODS, "default/p")
    await eventually(lambda: not informer.by_index("node", "n1"), "p gone")
    await informer.stop()


async def test_selectors_turn_changes_into_additions_and_deletions(api: FakeApi) -> None:
    informer, seen = await started(api, label_selector="app=web")
    api.add(config_map("a"))
    api.modify(CONFIG_MAPS, "default/a", {"metadata": {"labels": {"app": "web"}}})
    await eventually(lambda: seen == ["+a"], "a selected")
    api.modify(CONFIG_MAPS, "default/a", {"metadata": {"labels": {"app": "db"}}})
    await eventually(lambda: seen == ["+a", "-a"], "a no longer selected")
    old = next(iter(api.objects(CONFIG_MAPS)))
    api.modify(CONFIG_MAPS, "default/a", {"metadata": {"labels": {"app": "web"}}})
    await eventually(lambda: seen == ["+a", "-a", "+a"], "a selected again")
    api.modify(CONFIG_MAPS, "default/a", {"metadata": {"labels": {"app": "db"}}})
    await eventually(lambda: seen == ["+a", "-a", "+a", "-a"], "a no longer selected")
    informer.observe(old)
    assert seen == ["+a", "-a", "+a", "-a"], "an answer from before it left"
    await informer.stop()


async def test_the_wait_says_what_it_waited_for(api: FakeApi) -> None:
    api.up = False
    informer = Informer(Client(api), PODS)
    with pytest.raises(TimeoutError, match=r"first list of v1/pods not received within 0\.2 s: .*connection refused"):
        await informer.wait_synced(0.2)
    api.up = True
    await informer.wait_synced(5)
    await informer.stop()


async def test_a_failing_handler_does_not_cost_the_others_their_events(api: FakeApi) -> None:
    informer = Informer(Client(api), CONFIG_MAPS)
    seen: list[str] = []

    def bad(obj: dict[str, Any]) -> None:
        raise KeyError("bad handler")

    informer.add_handler(bad)
    informer.add_handler(lambda obj: seen.append(obj["metadata"]["name"]))
    api.add(config_map("a"))
    await informer.wait_synced(5)
    assert seen == ["a"]
    await informer.stop()
