"""instrumentation's conformance names about events, old and new (test/e2e/instrumentation)."""

from __future__ import annotations

import datetime

import pytest

from tests.labs.conformance_tools import STRATEGIC, labelled, names
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)
NEW = "apis/events.k8s.io/v1"


def _old(ns: Space, name: str, label: str) -> Obj:
    return {"metadata": {"name": name, "labels": {"testevent-set": label}}, "message": "This is a test event",
            "reason": "Test", "type": "Normal", "count": 1, "involvedObject": {"namespace": ns.name}}  # fmt: skip


def _new(ns: Space, name: str, label: str) -> Obj:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"metadata": {"name": name, "labels": {"testevent-set": label}}, "regarding": {"namespace": ns.name},
            "eventTime": now, "note": f"This is {name}", "action": "Do", "reason": "Test", "type": "Normal",
            "reportingController": "test-controller", "reportingInstance": "test-node"}  # fmt: skip


@conformance("Events should manage the lifecycle of an event")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    api, path = space.api, space.path("events", "event-test")
    space.create("events", _old(space, "event-test", space.name))
    everywhere = f"/api/v1/events?labelSelector=testevent-set%3D{space.name}"
    assert names(api, everywhere) == {"event-test"}
    api.call("PATCH", path, {"message": "This is a test event - patched"}, STRATEGIC)
    assert api.get(path)["message"] == "This is a test event - patched"
    found = api.update(
        path, lambda obj: obj.update(series={"count": 100, "lastObservedTime": "2024-01-01T00:00:00.000000Z"})
    )
    assert found["series"]["count"] == 100
    assert api.get(path)["series"]["lastObservedTime"] == "2024-01-01T00:00:00.000000Z"
    api.call("DELETE", path)
    assert names(api, everywhere) == set()


def _collection(ns: Space, group: str, make: object) -> None:
    for number in range(3):
        ns.create("events", make(ns, f"test-event-{number}", ns.name), group)  # type: ignore[operator]
    query = ns.path("events", group=group) + f"?labelSelector=testevent-set%3D{ns.name}"
    assert len(names(ns.api, query)) == 3
    ns.api.call("DELETE", query)
    ns.wait("no events of the set", lambda: not names(ns.api, query))


@conformance("Events should delete a collection of events")
def test_collection(space: Space) -> None:  # noqa: F811
    _collection(space, "api/v1", _old)


@conformance("Events API should delete a collection of events")
def test_new_collection(space: Space) -> None:  # noqa: F811
    _collection(space, NEW, _new)


@conformance("Events API should ensure that an event can be fetched, patched, deleted, and listed")
def test_new_lifecycle(space: Space) -> None:  # noqa: F811
    api, path = space.api, space.path("events", "event-test", NEW)
    made = space.create("events", _new(space, "event-test", space.name), NEW)
    here = space.path("events", group=NEW)
    selected = f"/{NEW}/events?labelSelector=testevent-set%3D{space.name}"
    assert "event-test" in names(api, here)
    assert names(api, selected) == {"event-test"}
    assert "event-test" in names(api, f"{here}?fieldSelector=reportingController%3Dtest-controller")
    assert {key: api.get(path)[key] for key in ("note", "action", "eventTime")} == {
        key: made[key] for key in ("note", "action", "eventTime")
    }
    series = {"count": 2, "lastObservedTime": "2014-09-22T03:31:05.000000Z"}
    found = api.call("PATCH", path, {"series": series, "metadata": {"labels": {"patched": "true"}}}, STRATEGIC)
    assert labelled("patched", "true")(found)
    assert api.get(path)["series"] == series
    found = api.update(path, lambda obj: obj["series"].update(count=3))
    assert api.get(path)["series"]["count"] == 3
    api.call("DELETE", path)
    assert "event-test" not in names(api, here)
    assert names(api, selected) == set()
