"""/metrics of the API server: upstream's stable names and labels, and that the numbers are those of what happened."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from netlab.apiserver.wire.message import Response

STABLE = {
    "apiserver_admission_controller_admission_duration_seconds": {"name", "operation", "rejected", "type"},
    "apiserver_admission_step_admission_duration_seconds": {"operation", "rejected", "type"},
    "apiserver_current_inflight_requests": {"request_kind"},
    "apiserver_request_duration_seconds": {
        "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"
    },
    "apiserver_request": {
        "code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"
    },
    "apiserver_response_sizes": {"component", "group", "resource", "scope", "subresource", "verb", "version"},
    "apiserver_storage_objects": {"resource"},
    "apiserver_storage_size_bytes": {"storage_cluster_id"},
    "kubernetes_healthcheck": {"name", "type"},
    "kubernetes_healthchecks": {"name", "status", "type"},
    "apiserver_flowcontrol_current_executing_requests": {"flow_schema", "priority_level"},
    "apiserver_flowcontrol_dispatched_requests": {"flow_schema", "priority_level"},
    "apiserver_flowcontrol_nominal_limit_seats": {"priority_level"},
}  # fmt: skip
EMPTY = {
    "apiserver_longrunning_requests",
    "apiserver_admission_webhook_admission_duration_seconds",
    "apiserver_requested_deprecated_apis",
    "apiserver_validating_admission_policy_check",
    "apiserver_validating_admission_policy_check_duration_seconds",
    "apiserver_flowcontrol_rejected_requests",
    "apiserver_flowcontrol_request_wait_duration_seconds",
    "apiserver_cel_compilation_duration_seconds",
    "apiserver_cel_evaluation_duration_seconds",
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        await made.ok("POST", ACCOUNTS, account("default"))
        yield made


async def scrape(server: Harness) -> dict[str, Metric]:
    found = await server.raw("GET", "/metrics")
    assert isinstance(found, Response) and found.code == 200
    return {one.name: one for one in text_string_to_metric_families(found.text.decode())}


def value(families: dict[str, Metric], sample: str, /, **labels: Any) -> float:
    """Of the samples of that name with these labels, the sum."""
    samples = [one for family in families.values() for one in family.samples if one.name == sample]
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


async def test_names_and_labels_are_upstreams(server: Harness) -> None:
    await server.ok("POST", PODS, pod("p"))
    for path in ("/livez", "/readyz?verbose", "/healthz/ping"):
        await server.raw("GET", path)
    families = await scrape(server)
    for name, labels in STABLE.items():
        seen = {frozenset(one.labels.keys() - {"le"}) for one in families[name].samples}
        assert seen == {frozenset(labels)}, name
        assert families[name].documentation.startswith(("[STABLE] ", "[BETA] ")), name
    assert families.keys() >= EMPTY
    assert families.keys() >= {"process_cpu_seconds", "process_resident_memory_bytes"}


async def test_requests_are_counted_by_what_they_were(server: Harness) -> None:
    await server.ok("POST", CMS, config_map("a"))
    await server.ok("GET", f"{CMS}/a")
    await server.ok("GET", f"{CMS}/a")
    await server.ok("GET", CMS)
    await server.ok("GET", "/api/v1/configmaps")
    await server.refused("GET", f"{CMS}/b")
    await server.ok("POST", f"{CMS}?dryRun=All", config_map("c"))
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    kind = {"content-type": "application/apply-patch+yaml"}
    await server.ok("PATCH", f"{CMS}/a?fieldManager=me", applied, headers=kind)
    await server.ok("PATCH", f"{CMS}/a", {}, headers={"content-type": "application/merge-patch+json"})
    await server.watch(CMS)
    families = await scrape(server)
    rows: list[tuple[dict[str, str], int]] = [
        ({"verb": "POST", "scope": "resource", "code": "201", "dry_run": ""}, 1),
        ({"verb": "POST", "scope": "resource", "code": "201", "dry_run": "All"}, 1),
        ({"verb": "GET", "scope": "resource", "code": "200"}, 2),
        ({"verb": "GET", "scope": "resource", "code": "404"}, 1),
        ({"verb": "LIST", "scope": "namespace"}, 1),
        ({"verb": "LIST", "scope": "cluster"}, 1),
        ({"verb": "APPLY", "code": "200"}, 1),
        ({"verb": "PATCH", "code": "200"}, 1),
        ({"verb": "WATCH", "code": "200"}, 1),
    ]
    about = {"group": "", "version": "v1", "resource": "configmaps", "component": "apiserver"}
    for labels, wanted in rows:
        assert value(families, "apiserver_request_total", **about, **labels) == wanted, labels
    assert value(families, "apiserver_request_duration_seconds_count", **about, verb="GET") == 3
    assert value(families, "apiserver_response_sizes_count", **about, verb="LIST") == 2
    stored = len((await server.ok("GET", "/api/v1/configmaps"))["items"])
    assert value(families, "apiserver_storage_objects", resource="configmaps") == stored
    assert value(families, "apiserver_current_inflight_requests", request_kind="readOnly") >= 1


async def test_streams_plug_ins_and_flows(server: Harness) -> None:
    listener = await server.watch(CMS)
    families = await scrape(server)
    assert value(families, "apiserver_longrunning_requests", verb="WATCH", resource="configmaps") == 1
    assert listener.task is not None
    listener.task.cancel()
    await server.ok("POST", PODS, pod("p"))
    await server.refused("POST", "/api/v1/namespaces/none/pods", pod("p"))
    families = await scrape(server)
    assert value(families, "apiserver_longrunning_requests", verb="WATCH", resource="configmaps") == 0
    name = "apiserver_admission_controller_admission_duration_seconds_count"
    assert value(families, name, name="NamespaceLifecycle", operation="CREATE", rejected="true", type="admit") == 1
    assert value(families, name, name="ServiceAccount", operation="CREATE", rejected="false", type="admit") >= 1
    assert value(families, "apiserver_flowcontrol_dispatched_requests_total", priority_level="exempt") > 2
    assert value(families, "apiserver_flowcontrol_current_executing_requests", priority_level="exempt") == 1
    assert value(families, "apiserver_flowcontrol_nominal_limit_seats", priority_level="catch-all") > 0


async def test_health_checks_are_told(server: Harness) -> None:
    await server.raw("GET", "/readyz?exclude=etcd")
    families = await scrape(server)
    assert value(families, "kubernetes_healthcheck", name="ping", type="readyz") == 1
    assert value(families, "kubernetes_healthchecks_total", name="ping", status="success", type="readyz") == 1
    assert value(families, "kubernetes_healthcheck", name="etcd", type="readyz") == 0


async def test_what_the_store_was_asked_to_write(server: Harness) -> None:
    before = await scrape(server)
    await server.ok("POST", CMS, {"metadata": {"name": "counted"}})
    assert (await server.refused("POST", CMS, {"metadata": {"name": "counted"}}))[0] == 409
    await server.ok("DELETE", f"{CMS}/counted")
    after = await scrape(server)
    rows = [
        ("etcd_requests_total", "create", 2),
        ("etcd_requests_total", "delete", 1),
        ("etcd_request_errors_total", "create", 1),
        ("etcd_request_duration_seconds_count", "create", 2),
    ]
    for name, operation, wanted in rows:
        was, now = (value(one, name, operation=operation, type="configmaps") for one in (before, after))
        assert now - was == wanted, name
