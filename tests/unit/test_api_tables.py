"""Tables: what `kubectl get` shows, against tables of upstream's behaviour."""

from typing import Any

import pytest

from netlab.api import tables
from netlab.api.resources import RESOURCES, Resource, by_name, get
from netlab.api.tables import custom, human
from netlab.api.types import Obj

NOW = 1_000_000.0


def ago(seconds: float) -> str:
    from netlab.api import meta

    return meta.rfc3339(NOW - seconds)


def shown(kind: tuple[str, str], obj: Obj) -> dict[str, Any]:
    """One row by column name."""
    resource = get(*kind)
    obj.setdefault("metadata", {}).setdefault("name", "x")
    obj["metadata"].setdefault("creationTimestamp", ago(60))
    table = tables.table(resource, [obj], NOW)
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.plural}.{r.version}.{r.group}")
def test_every_kind_prints_an_empty_object(resource: Resource) -> None:
    table = tables.table(resource, [{"metadata": {"name": "x"}}], NOW)
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])
    assert table["columnDefinitions"][0]["priority"] == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human.duration(seconds) == text


def pod(phase: str, containers: list[Obj], **more: Any) -> Obj:
    spec: Obj = {"containers": [{"name": f"c{i}"} for i in range(len(containers) or 1)]}
    spec |= more.pop("spec", {})
    return {
        "metadata": {"name": "p", "creationTimestamp": ago(300), **more.pop("metadata", {})},
        "spec": spec,
        "status": {"phase": phase, "containerStatuses": containers, **more},
    }


RUNNING: Obj = {"ready": True, "restartCount": 0, "state": {"running": {}}}


def waiting(reason: str, restarts: int = 0, last: str = "") -> Obj:
    status: Obj = {"restartCount": restarts, "state": {"waiting": {"reason": reason}}}
    if last:
        status["lastState"] = {"terminated": {"finishedAt": last}}
    return status


def ended(code: int, reason: str = "", signal: int = 0) -> Obj:
    terminated: Obj = {"exitCode": code}
    if reason:
        terminated["reason"] = reason
    if signal:
        terminated["signal"] = signal
    return {"restartCount": 0, "state": {"terminated": terminated}}


PODS: list[tuple[str, Obj, tuple[str, str, str]]] = [
    ("pending", pod("Pending", []), ("0/1", "Pending", "0")),
    ("running", pod("Running", [RUNNING, RUNNING]), ("2/2", "Running", "0")),
    ("creating", pod("Pending", [waiting("ContainerCreating")]), ("0/1", "ContainerCreating", "0")),
    (
        "crashing",
        pod("Running", [waiting("CrashLoopBackOff", 5, ago(310))]),
        ("0/1", "CrashLoopBackOff", "5 (5m10s ago)"),
    ),
    ("no image", pod("Pending", [waiting("ImagePullBackOff")]), ("0/1", "ImagePullBackOff", "0")),
    ("completed", pod("Succeeded", [ended(0, "Completed")]), ("0/1", "Completed", "0")),
    ("failed", pod("Failed", [ended(1, "Error")]), ("0/1", "Error", "0")),
    ("exit code without reason", pod("Failed", [ended(3)]), ("0/1", "ExitCode:3", "0")),
    ("killed by a signal", pod("Failed", [ended(0, signal=9)]), ("0/1", "Signal:9", "0")),
    (
        "one of two completed, ready",
        pod("Running", [ended(0, "Completed"), RUNNING], conditions=[{"type": "Ready", "status": "True"}]),
        ("1/2", "Running", "0"),
    ),
    ("one of two completed, not ready", pod("Running", [ended(0, "Completed"), RUNNING]), ("1/2", "NotReady", "0")),
    (
        "evicted",
        pod("Failed", [], reason="Evicted"),
        ("0/1", "Evicted", "0"),
    ),
    (
        "terminating",
        pod("Running", [RUNNING], metadata={"deletionTimestamp": ago(1)}),
        ("1/1", "Terminating", "0"),
    ),
    (
        "on a lost node",
        pod("Running", [RUNNING], metadata={"deletionTimestamp": ago(1)}, reason="NodeLost"),
        ("1/1", "Unknown", "0"),
    ),
    (
        "gated",
        pod("Pending", [], conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
        ("0/1", "SchedulingGated", "0"),
    ),
    (
        "initialising",
        pod(
            "Pending",
            [waiting("PodInitializing")],
            spec={"initContainers": [{"name": "i0"}, {"name": "i1"}]},
            initContainerStatuses=[{"name": "i0", **ended(0, "Completed")}, {"name": "i1", "state": {"running": {}}}],
        ),
        ("0/1", "Init:1/2", "0"),
    ),
    (
        "failing to initialise",
        pod(
            "Pending",
            [waiting("PodInitializing")],
            spec={"initContainers": [{"name": "i0"}]},
            initContainerStatuses=[{"name": "i0", **waiting("CrashLoopBackOff", 2)}],
        ),
        ("0/1", "Init:CrashLoopBackOff", "2"),
    ),
    (
        "with a sidecar",
        pod(
            "Running",
            [RUNNING],
            spec={"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            initContainerStatuses=[{"name": "s", "started": True, **RUNNING, "restartCount": 3}],
        ),
        ("2/2", "Running", "3"),
    ),
]


@pytest.mark.parametrize(("obj", "wanted"), [case[1:] for case in PODS], ids=[case[0] for case in PODS])
def test_pods(obj: Obj, wanted: tuple[str, str, str]) -> None:
    row = shown(("v1", "Pod"), obj)
    assert (row["Ready"], row["Status"], row["Restarts"]) == wanted
    assert row["Age"] == "5m"


def test_wide_pod_columns() -> None:
    obj = pod("Running", [RUNNING], podIPs=[{"ip": "10.244.1.2"}], spec={"nodeName": "n1"})
    row = shown(("v1", "Pod"), obj)
    assert (row["IP"], row["Node"], row["Nominated Node"], row["Readiness Gates"]) == (
        "10.244.1.2",
        "n1",
        "<none>",
        "<none>",
    )


def test_completed_pods_are_marked() -> None:
    table = tables.table(get("v1", "Pod"), [pod("Succeeded", [ended(0, "Completed")])], NOW)
    assert table["rows"][0]["conditions"][0]["type"] == "Completed"


SERVICES: list[tuple[Obj, tuple[str, str, str]]] = [
    (
        {"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 443, "protocol": "TCP"}]},
        ("10.96.0.1", "<none>", "443/TCP"),
    ),
    ({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}, ("None", "<none>", "<none>")),
    (
        {
            "type": "NodePort",
            "clusterIPs": ["10.96.0.2"],
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "externalIPs": ["1.2.3.4"],
        },
        ("10.96.0.2", "1.2.3.4", "80:30080/TCP,53/UDP"),
    ),
    ({"type": "LoadBalancer", "clusterIPs": ["10.96.0.3"]}, ("10.96.0.3", "<pending>", "<none>")),
    ({"type": "ExternalName", "externalName": "example.com"}, ("<none>", "example.com", "<none>")),
]


@pytest.mark.parametrize(("spec", "wanted"), SERVICES, ids=lambda v: v.get("type") if isinstance(v, dict) else None)
def test_services(spec: Obj, wanted: tuple[str, str, str]) -> None:
    row = shown(("v1", "Service"), {"spec": spec})
    assert (row["Cluster-IP"], row["External-IP"], row["Port(s)"]) == wanted


def test_endpoints_show_three_and_count_the_rest() -> None:
    subset = {"addresses": [{"ip": f"10.0.0.{i}"} for i in range(5)], "ports": [{"port": 80}]}
    row = shown(("v1", "Endpoints"), {"subsets": [subset]})
    assert row["Endpoints"] == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."
    assert shown(("v1", "Endpoints"), {})["Endpoints"] == "<none>"


def test_endpoint_slices() -> None:
    obj = {
        "addressType": "IPv4",
        "ports": [{"port": 80}, {"name": "any"}],
        "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
    }
    row = shown(("discovery.k8s.io/v1", "EndpointSlice"), obj)
    assert (row["AddressType"], row["Ports"], row["Endpoints"]) == ("IPv4", "80,any", "10.0.0.1,10.0.0.2")


def test_nodes() -> None:
    obj = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "192.168.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.33.0"},
        },
    }
    row = shown(("v1", "Node"), obj)
    assert row["Status"] == "NotReady,SchedulingDisabled"
    assert (row["Roles"], row["Internal-IP"], row["OS-Image"]) == ("control-plane", "192.168.0.1", "<unknown>")


def test_deployments() -> None:
    obj = {
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"b": "2", "a": "1"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}},
        },
        "status": {"readyReplicas": 1, "updatedReplicas": 3, "availableReplicas": 1},
    }
    row = shown(("apps/v1", "Deployment"), obj)
    assert (row["Ready"], row["Up-to-date"], row["Available"]) == ("1/3", 3, 1)
    assert (row["Containers"], row["Images"], row["Selector"]) == ("c,d", "i,j", "a=1,b=2")


JOBS: list[tuple[Obj, tuple[str, str, str]]] = [
    ({"spec": {"completions": 3}, "status": {"succeeded": 1, "startTime": ago(90)}}, ("Running", "1/3", "90s")),
    (
        {
            "spec": {"completions": 1},
            "status": {
                "succeeded": 1,
                "startTime": ago(90),
                "completionTime": ago(60),
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        },
        ("Complete", "1/1", "30s"),
    ),
    ({"spec": {"parallelism": 4}}, ("Running", "0/1 of 4", "")),
    ({"status": {"conditions": [{"type": "Suspended", "status": "True"}]}}, ("Suspended", "0/1", "")),
]


@pytest.mark.parametrize(("obj", "wanted"), JOBS)
def test_jobs(obj: Obj, wanted: tuple[str, str, str]) -> None:
    row = shown(("batch/v1", "Job"), obj)
    assert (row["Status"], row["Completions"], row["Duration"]) == wanted


def test_events_of_both_apis_read_alike() -> None:
    core = {
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "reason": "Pulled",
        "type": "Normal",
        "message": " done \n",
        "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": ago(300),
        "lastTimestamp": ago(30),
        "count": 4,
    }
    modern = {
        "regarding": core["involvedObject"],
        "reason": "Pulled",
        "type": "Normal",
        "note": "done",
        "reportingController": "kubelet",
        "reportingInstance": "n1",
        "deprecatedFirstTimestamp": ago(300),
        "deprecatedLastTimestamp": ago(30),
        "deprecatedCount": 4,
    }
    rows = [shown(("v1", "Event"), core), shown(("events.k8s.io/v1", "Event"), modern)]
    assert rows[0] == rows[1]
    assert rows[0]["Object"] == "pod/p"
    assert (rows[0]["Last Seen"], rows[0]["First Seen"], rows[0]["Count"]) == ("30s", "5m", 4)
    assert rows[0]["Source"] == "kubelet, n1"
    assert rows[0]["Message"] == "done"


def test_autoscalers() -> None:
    v2 = {
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                {"type": "Pods", "pods": {"target": {"averageValue": "10"}}},
                {"type": "External", "external": {"target": {"value": "1"}}},
            ],
        },
        "status": {"currentMetrics": [{"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}]},
    }
    row = shown(("autoscaling/v2", "HorizontalPodAutoscaler"), v2)
    assert row["Reference"] == "Deployment/d"
    assert row["Targets"] == "cpu: 12%/80%, <unknown>/10 + 1 more..."
    assert (row["MinPods"], row["MaxPods"], row["Replicas"]) == ("1", 5, 0)


@pytest.mark.parametrize(
    ("conditions", "certificate", "shown_as"),
    [
        ([], "", "Pending"),
        (["Approved"], "", "Approved"),
        (["Approved"], "abc", "Approved,Issued"),
        (["Denied"], "", "Denied"),
        (["Approved", "Failed"], "", "Approved,Failed"),
    ],
)
def test_certificate_requests(conditions: list[str], certificate: str, shown_as: str) -> None:
    status = {"conditions": [{"type": kind, "status": "True"} for kind in conditions], "certificate": certificate}
    row = shown(("certificates.k8s.io/v1", "CertificateSigningRequest"), {"status": status})
    assert row["Condition"] == shown_as


def test_roles_show_when_they_were_created() -> None:
    row = shown(("rbac.authorization.k8s.io/v1", "Role"), {"metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}})
    assert row["Created At"] == "2026-01-02T03:04:05Z"


def test_role_bindings_name_their_subjects() -> None:
    obj = {
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    }
    row = shown(("rbac.authorization.k8s.io/v1", "RoleBinding"), obj)
    assert (row["Role"], row["Users"], row["Groups"], row["ServiceAccounts"]) == ("Role/r", "u", "", "n/s")


def test_addresses_name_their_service() -> None:
    parent = {"group": "", "resource": "services", "namespace": "default", "name": "kubernetes"}
    row = shown(("networking.k8s.io/v1", "IPAddress"), {"spec": {"parentRef": parent}})
    assert row["ParentRef"] == "services/default/kubernetes"


def test_rows_carry_metadata_only_unless_asked() -> None:
    pods = by_name("pods")
    assert pods is not None
    obj = pod("Running", [RUNNING])
    partial = tables.table(pods, [obj], NOW)["rows"][0]["object"]
    assert partial["kind"] == "PartialObjectMetadata"
    assert "spec" not in partial
    assert tables.table(pods, [obj], NOW, include="Object")["rows"][0]["object"] is obj
    assert tables.table(pods, [obj], NOW, include="None")["rows"][0]["object"] is None
    assert tables.table(pods, [obj], NOW, headers=False)["columnDefinitions"] == []


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".spec.size", [3]),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type=="Gone")].status', []),
        (".status.conditions[0].type", ["Ready"]),
        (".spec.names[*]", ["a", "b"]),
        (r".metadata.labels.example\.com/x", ["y"]),
        (".metadata.labels['example.com/x']", ["y"]),
        (".missing.path", []),
    ],
)
def test_json_paths_of_printer_columns(path: str, values: list[Any]) -> None:
    obj = {
        "metadata": {"labels": {"example.com/x": "y"}},
        "spec": {"size": 3, "names": ["a", "b"]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert custom.find(obj, path) == values


def test_custom_columns() -> None:
    widget = Resource("e.com", "v1", "Widget", "widgets", "widget", True, ("get",), custom=True)
    extra = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Names", "type": "string", "jsonPath": ".spec.names", "priority": 1},
    ]
    obj = {"metadata": {"name": "w", "creationTimestamp": ago(60)}, "spec": {"size": 3, "names": ["a", "b"]}}
    table = tables.table(widget, [obj], NOW, extra=extra)
    assert table["rows"][0]["cells"] == ["w", 3, "60s", "[a b]"]
    assert [column["priority"] for column in table["columnDefinitions"]] == [0, 0, 0, 1]
    assert tables.table(widget, [obj], NOW)["rows"][0]["cells"] == ["w", "60s"]
