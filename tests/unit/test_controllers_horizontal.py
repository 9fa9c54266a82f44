"""HorizontalPodAutoscalers: upstream's documented examples as tables, and the controller on an API in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import DEPLOYMENTS, EVENTS
from netlab.client.transport import Response
from netlab.controllers import ControllersConfig
from netlab.controllers.horizontal.calculator import (
    CannotError,
    Rules,
    Sample,
    by_average,
    by_share,
    by_utilization,
    by_value,
)
from netlab.controllers.horizontal.controller import AUTOSCALERS
from netlab.controllers.horizontal.decide import Reading, Seen, decide
from netlab.controllers.horizontal.pace import Bounds, History, down_limit, paced, up_limit
from netlab.controllers.manager import run

NOW = 1_700_000_000.0
RULES = Rules()


def pod(name: str, *, request: str | None = "1", phase: str = "Running", ready: bool = True, since: float = 0) -> Obj:
    """`since`: when its readiness last changed, seconds ago; 0 is long ago."""
    changed = meta.rfc3339(NOW - (since or 7200))
    resources = {"requests": {"cpu": request}} if request else {}
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": resources}]},
        "status": {
            "phase": phase,
            "startTime": meta.rfc3339(NOW - (since + 1 if since else 7200)),
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": changed}],
        },
    }


def samples(*millis: int | None) -> dict[str, Sample]:
    return {f"p{n}": Sample(value, NOW) for n, value in enumerate(millis) if value is not None}


def pods(count: int, **kwargs: Any) -> list[Obj]:
    return [pod(f"p{n}", **kwargs) for n in range(count)]


@pytest.mark.parametrize(
    ("what", "percent", "values", "changes", "replicas", "utilization"),
    [
        # the tables of upstream's replica_calculator_test.go, with its values
        ("up", 30, (300, 500, 700), {}, 5, 50),
        ("up, one is not ready and hot", 30, (300, 500, 700), {0: {"ready": False, "since": 20}}, 4, 60),
        ("up, one is pending", 30, (300, 500, 700), {0: {"phase": "Pending"}}, 4, 60),
        (
            "two unready damp it to nothing",
            30,
            (400, 500, 700),
            {1: {"phase": "Pending"}, 2: {"phase": "Pending"}},
            3,
            40,
        ),
        ("one failed does not count", 50, (500, 700, 0), {2: {"phase": "Failed"}}, 3, 60),
        ("down", 50, (100, 300, 500, 250, 250), {}, 3, 28),
        ("down, unready ones are left out", 50, (100, 300, 500, 250, 250), {0: {"phase": "Pending"}}, 3, 32),
        ("within tolerance", 100, (1010, 1030, 1020), {}, 3, 102),
        ("missing ones count as nothing on the way up", 24, (400, 600, 100, None), {}, 5, 36),
        ("missing ones count as full on the way down", 50, (100, 200, None), {}, 3, 15),
        ("down with a missing one, still down", 100, (100, 100, 100, None), {}, 2, 10),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_utilization(
    what: str, percent: int, values: tuple[int | None, ...], changes: dict[int, Obj], replicas: int, utilization: int
) -> None:
    found = [pod(f"p{n}", **changes.get(n, {})) for n in range(len(values))]
    proposal = by_utilization(len(values), percent, "cpu", "", found, samples(*values), RULES, NOW)
    assert (proposal.replicas, proposal.percent) == (replicas, utilization)


def test_what_cannot_be_computed() -> None:
    with pytest.raises(CannotError, match=r"^missing request for cpu in container c of Pod p0$"):
        by_utilization(1, 50, "cpu", "", pods(1, request=None), samples(100), RULES, NOW)
    with pytest.raises(CannotError, match=r"^no pods returned by selector while calculating replica count$"):
        by_utilization(1, 50, "cpu", "", [], {}, RULES, NOW)
    with pytest.raises(CannotError, match=r"^did not receive metrics for any ready pods$"):
        by_average(1, 500, "cpu", pods(1, phase="Pending"), samples(100), RULES, NOW)


def test_averages_and_values() -> None:
    assert by_average(3, 15000, "", pods(3), samples(20000, 10000, 30000), RULES, NOW).replicas == 4
    assert by_value(3, 20, 10, pods(3), RULES).replicas == 6
    assert by_value(0, 25, 10, [], RULES).replicas == 3
    assert by_value(3, 21, 20, pods(3), RULES).replicas == 3
    assert by_share(3, 8600, 2150, RULES).replicas == 4
    assert by_share(3, 6000, 2000, RULES).average == 2000


UP: Obj = {
    "selectPolicy": "Max",
    "stabilizationWindowSeconds": 0,
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
DOWN: Obj = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


@pytest.mark.parametrize(
    ("current", "choice", "recent", "limit"),
    [(1, "Max", 0, 5), (10, "Max", 0, 20), (10, "Min", 0, 14), (10, "Disabled", 0, 10), (10, "Max", 5, 10)],
)
def test_up_limits(current: int, choice: str, recent: int, limit: int) -> None:
    history = History(ups=[(recent, NOW - 1)])
    assert up_limit(current, history, {**UP, "selectPolicy": choice}, NOW) == limit


def test_down_limits_of_the_documentation() -> None:
    """80 pods, 10 % a minute: 72, then 65 … (the HPA walkthrough of KEP-853)."""
    rules = {**DOWN, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}
    assert down_limit(80, History(), rules, NOW) == 72
    assert down_limit(72, History(downs=[(8, NOW - 30)]), rules, NOW) == 72
    assert down_limit(72, History(downs=[(8, NOW - 61)]), rules, NOW) == 64
    four = [{"type": "Pods", "value": 4, "periodSeconds": 60}, *rules["policies"]]
    assert down_limit(30, History(), {**rules, "policies": four}, NOW) == 26
    assert down_limit(100, History(), {**rules, "policies": four}, NOW) == 90
    assert down_limit(100, History(), {**rules, "policies": four, "selectPolicy": "Min"}, NOW) == 96
    assert down_limit(100, History(), {**rules, "selectPolicy": "Disabled"}, NOW) == 100


BEHAVIOR = {"scaleUp": UP, "scaleDown": DOWN}


@pytest.mark.parametrize(
    ("what", "bounds", "wanted", "behavior", "before", "replicas", "able", "limited"),
    [
        ("same", Bounds(3, 1, 10), 3, None, [], 3, "ReadyForNewScale", ("False", "DesiredWithinRange")),
        ("doubles at most", Bounds(3, 1, 10), 9, None, [], 6, "ReadyForNewScale", ("True", "ScaleUpLimit")),
        ("not over the limit", Bounds(6, 1, 8), 11, None, [], 8, "ReadyForNewScale", ("True", "TooManyReplicas")),
        ("not under it", Bounds(3, 2, 8), 1, None, [], 2, "ReadyForNewScale", ("True", "TooFewReplicas")),
        (
            "waits on the way down",
            Bounds(5, 1, 8),
            2,
            None,
            [(5, 60)],
            5,
            "ScaleDownStabilized",
            ("False", "DesiredWithinRange"),
        ),
        (
            "long ago is over",
            Bounds(5, 1, 8),
            2,
            None,
            [(5, 301)],
            2,
            "ReadyForNewScale",
            ("False", "DesiredWithinRange"),
        ),
        ("four at once", Bounds(1, 1, 99), 40, BEHAVIOR, [], 5, "ReadyForNewScale", ("True", "ScaleUpLimit")),
        (
            "and waits",
            Bounds(5, 1, 8),
            2,
            BEHAVIOR,
            [(4, 60)],
            4,
            "ScaleDownStabilized",
            ("False", "DesiredWithinRange"),
        ),
        (
            "waits on the way up",
            Bounds(2, 1, 8),
            5,
            {"scaleUp": {**UP, "stabilizationWindowSeconds": 100}, "scaleDown": DOWN},
            [(3, 60)],
            3,
            "ScaleUpStabilized",
            ("False", "DesiredWithinRange"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pace(
    what: str,
    bounds: Bounds,
    wanted: int,
    behavior: Obj | None,
    before: list[tuple[int, float]],
    replicas: int,
    able: str,
    limited: tuple[str, str],
) -> None:
    history = History([(count, NOW - ago) for count, ago in before])
    found, conditions = paced(bounds, wanted, behavior, history, 300.0, NOW)
    assert found == replicas
    assert [(kind, status, reason) for kind, status, reason, _ in conditions] == [
        ("AbleToScale", "True", able),
        ("ScalingLimited", *limited),
    ]


def hpa(**spec: Any) -> Obj:
    target = {"type": "Utilization", "averageUtilization": 50}
    full = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        **spec,
    }
    data = {"name": "web", "namespace": "default"}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": data, "spec": full}


def scale(replicas: int) -> Obj:
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "selector": "app=web"},
    }


def conditions(status: Obj) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_a_round_up() -> None:
    seen = Seen(scale(2), pods(2), [Reading(samples(900, 600))], RULES, 300, NOW)
    found = decide(hpa(), seen, History())
    assert (found.replicas, found.reason) == (3, "cpu resource utilization (percentage of request) above target")
    assert found.status["currentMetrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 75, "averageValue": "750m"}}}
    ]
    assert conditions(found.status)["ScalingActive"] == ("True", "ValidMetricFound")


@pytest.mark.parametrize(
    ("replicas", "wanted", "reason"),
    [
        (9, 5, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
        (0, None, ""),
    ],
)
def test_rounds_without_metrics(replicas: int, wanted: int | None, reason: str) -> None:
    found = decide(hpa(minReplicas=2), Seen(scale(replicas), [], [], RULES, 300, NOW), History())
    assert (found.replicas, found.reason) == (wanted, reason)
    if not replicas:
        assert conditions(found.status)["ScalingActive"] == ("False", "ScalingDisabled")


def test_a_round_without_an_api() -> None:
    problem = "unable to fetch metrics from resource metrics API: the server could not find the requested resource"
    found = decide(hpa(), Seen(scale(2), pods(2), [Reading(problem=problem)], RULES, 300, NOW), History())
    text = f"failed to get cpu utilization: unable to get metrics for resource cpu: {problem}"
    assert found.replicas is None
    assert found.events == [
        ("Warning", "FailedGetResourceMetric", text),
        (
            "Warning",
            "FailedComputeMetricsReplicas",
            f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {text}",
        ),
    ]
    assert conditions(found.status)["ScalingActive"] == ("False", "FailedGetResourceMetric")


def test_one_metric_of_two_fails() -> None:
    more = {
        "type": "Pods",
        "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1"}},
    }
    two = hpa(metrics=[*hpa()["spec"]["metrics"], more])
    up = Seen(scale(2), pods(2), [Reading(samples(900, 900)), Reading(problem="none")], RULES, 300, NOW)
    assert decide(two, up, History()).replicas == 4
    down = Seen(scale(2), pods(2), [Reading(samples(10, 10)), Reading(problem="none")], RULES, 300, NOW)
    found = decide(two, down, History())
    assert found.replicas is None
    assert conditions(found.status)["ScalingActive"] == ("False", "FailedGetPodsMetric")


def test_two_for_the_same_pods() -> None:
    seen = Seen(scale(2), pods(2), [Reading(samples(900, 900))], RULES, 300, NOW, ("other", "web"))
    found = decide(hpa(), seen, History())
    text = "pods by selector app=web are controlled by multiple HPAs: [{other default} {web default}]"
    assert (found.replicas, found.events[0]) == (None, ("Warning", "AmbiguousSelector", text))


class MetricsApi(FakeApi):
    """Serves metrics.k8s.io beside the rest: what its pods use, in millicores."""

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, int] | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        if not path.startswith("/apis/metrics.k8s.io/"):
            return await super().request(method, path, params=params, body=body, headers=headers)
        if self.used is None:
            return Response(404, {}, b"404 page not found\n")
        items = [
            {
                "metadata": {"name": name, "namespace": "default"},
                "timestamp": meta.rfc3339(NOW),
                "window": "2s",
                "containers": [{"name": "c", "usage": {"cpu": f"{used}m", "memory": "1Mi"}}],
            }
            for name, used in self.used.items()
        ]
        return Response(200, {}, orjson.dumps({"kind": "PodMetricsList", "items": items}))


@pytest.fixture
async def api() -> AsyncIterator[MetricsApi]:
    api = MetricsApi()
    task = asyncio.create_task(run(Client(api), ControllersConfig(controllers=("horizontal-pod-autoscaler",))))
    yield api
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_from_no_metrics_to_more_pods(api: MetricsApi) -> None:
    labels = {"matchLabels": {"app": "web"}}
    api.add(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 1, "selector": labels, "template": {"metadata": {"labels": labels["matchLabels"]}}},
            "status": {"replicas": 1},
        }
    )
    api.add({"apiVersion": "v1", "kind": "Pod", **pod("p0")})
    api.add(hpa())

    def status() -> Obj:
        found: Obj = api.find(AUTOSCALERS, "default/web").get("status") or {"conditions": []}
        return found

    await eventually(
        lambda: conditions(status()).get("ScalingActive") == ("False", "FailedGetResourceMetric"), "no metrics", 20
    )
    api.used = {"p0": 1500}
    await eventually(lambda: api.find(DEPLOYMENTS, "default/web")["spec"]["replicas"] == 3, "three replicas", 20)
    await eventually(
        lambda: (
            "New size: 3; reason: cpu resource utilization (percentage of request) above target"
            in [event["message"] for event in api.objects(EVENTS)]
        ),
        "the event",
    )
    await eventually(lambda: status()["desiredReplicas"] == 3, "status")
    assert conditions(status())["AbleToScale"][0] == "True"
