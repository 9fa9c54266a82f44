"""The audit log: what the policy lets in, what an event says, and how the file is kept."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from apiserver_harness import CMS, Harness, config_map, harness

from netlab.apiserver.audit.file import LogFile
from netlab.apiserver.audit.policy import PolicyError, parse
from netlab.apiserver.wire.message import User
from netlab.apiserver.wire.path import parse as parse_path

Obj = dict[str, Any]
MERGE = {"headers": {"content-type": "application/merge-patch+json"}}


def policy(*rules: Obj, **more: Any) -> Obj:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}


def events_of(server: Harness, path: Path) -> list[Obj]:
    assert server.api.auditor is not None
    server.api.auditor.file.flush()
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def lab(state: Path, document: Obj) -> Any:
    (state / "audit-policy.yaml").write_bytes(orjson.dumps(document))
    return harness(state, audit_policy=state / "audit-policy.yaml", audit_log=state / "logs" / "audit.log")


async def test_a_create_at_each_level(tmp_path: Path) -> None:
    for level in ("Metadata", "Request", "RequestResponse"):
        state = tmp_path / level
        state.mkdir()
        async with lab(state, policy({"level": level}, omitStages=["RequestReceived"])) as server:
            await server.ok("POST", CMS, config_map("a", x="1"), headers={"user-agent": "me/1"})
            answered = server.headers["Audit-Id"]
            (event,) = events_of(server, state / "logs" / "audit.log")
        assert (event["kind"], event["apiVersion"], event["level"]) == ("Event", "audit.k8s.io/v1", level)
        assert event["auditID"] == answered and event["stage"] == "ResponseComplete"
        assert event["requestURI"] == CMS and event["verb"] == "create" and event["userAgent"] == "me/1"
        assert event["user"]["username"] == "admin" and event["user"]["groups"][0] == "system:masters"
        assert event["objectRef"] == {
            "resource": "configmaps",
            "namespace": "default",
            "name": "a",
            "apiVersion": "v1",
        }
        assert event["responseStatus"] == {"metadata": {}, "code": 201}
        assert event["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
        assert ("requestObject" in event) is (level != "Metadata")
        assert ("responseObject" in event) is (level == "RequestResponse")
        assert event["requestReceivedTimestamp"] <= event["stageTimestamp"]


async def test_refusals_and_their_reasons(tmp_path: Path) -> None:
    async with lab(tmp_path, policy({"level": "Metadata"}, omitStages=["RequestReceived"])) as server:
        await server.refused("GET", CMS, token="joe-token")
        await server.refused("GET", CMS, token="wrong")
        await server.refused("GET", f"{CMS}/none")
        refused, unknown, *_, missing = events_of(server, tmp_path / "logs" / "audit.log")
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert refused["responseStatus"]["reason"] == "Forbidden" and refused["responseStatus"]["code"] == 403
    assert unknown["user"] == {} and unknown["stage"] == "ResponseStarted"
    assert unknown["responseStatus"]["message"] == "Authentication failed, attempted: bearer"
    assert missing["responseStatus"]["reason"] == "NotFound" and missing["responseStatus"]["code"] == 404


async def test_why_rbac_allowed_it_and_who_was_impersonated(tmp_path: Path) -> None:
    async with lab(tmp_path, policy({"level": "Metadata"}, omitStages=["RequestReceived"])) as server:
        await server.ok("GET", "/version", headers={"impersonate-user": "joe"})
        (event,) = events_of(server, tmp_path / "logs" / "audit.log")
    assert event["user"]["username"] == "admin"
    assert event["impersonatedUser"] == {"username": "joe", "groups": ["system:authenticated"]}
    # the first of joe's roles that allows it
    assert event["annotations"]["authorization.k8s.io/reason"].startswith("RBAC: allowed by ClusterRoleBinding ")


async def test_stages_of_a_watch_and_of_an_ordinary_request(tmp_path: Path) -> None:
    async with lab(tmp_path, policy({"level": "Metadata"})) as server:
        listener = await server.watch(CMS)
        await server.ok("GET", CMS)
        assert listener.task is not None
        listener.task.cancel()
        await asyncio.gather(listener.task, return_exceptions=True)
        await server.ok("GET", "/version")
        found = events_of(server, tmp_path / "logs" / "audit.log")
    stages = [(event["verb"], event["stage"]) for event in found]
    assert stages[:2] == [("watch", "RequestReceived"), ("watch", "ResponseStarted")]
    assert ("watch", "ResponseComplete") in stages and ("list", "ResponseStarted") not in stages
    assert stages[2:4] == [("list", "RequestReceived"), ("list", "ResponseComplete")]


async def test_managed_fields_can_stay_out(tmp_path: Path) -> None:
    rule = {"level": "RequestResponse", "omitManagedFields": True, "omitStages": ["RequestReceived"]}
    async with lab(tmp_path, policy(rule)) as server:
        await server.ok("POST", CMS, config_map("a"))
        (event,) = events_of(server, tmp_path / "logs" / "audit.log")
    assert "managedFields" not in event["responseObject"]["metadata"]


async def test_without_a_policy_there_is_nothing(tmp_path: Path) -> None:
    async with harness(tmp_path, audit_policy=tmp_path / "none", audit_log=tmp_path / "log") as server:
        await server.ok("POST", CMS, config_map("a"))
        assert server.api.auditor is None and "Audit-Id" not in server.headers
    assert not (tmp_path / "log").exists()


async def test_a_bad_policy_is_told_and_there_is_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with lab(tmp_path, policy({"level": "Everything"})) as server:
        assert server.api.auditor is None
    assert 'rules[0].level: Unsupported value: "Everything"' in caplog.text


RULES: list[tuple[Obj, Callable[[], tuple[User, str, str]], bool]] = [
    ({"users": ["joe"]}, lambda: (User("joe"), "GET", "/api/v1/pods"), True),
    ({"users": ["ann"]}, lambda: (User("joe"), "GET", "/api/v1/pods"), False),
    ({"userGroups": ["g"]}, lambda: (User("joe", ("g",)), "GET", "/api/v1/pods"), True),
    ({"verbs": ["list"]}, lambda: (User("joe"), "GET", "/api/v1/pods"), True),
    ({"verbs": ["get"]}, lambda: (User("joe"), "GET", "/api/v1/pods"), False),
    ({"namespaces": ["a"]}, lambda: (User("joe"), "GET", "/api/v1/namespaces/a/pods"), True),
    ({"namespaces": [""]}, lambda: (User("joe"), "GET", "/api/v1/pods"), True),
    ({"namespaces": ["a"]}, lambda: (User("joe"), "GET", "/version"), False),
    ({"resources": [{"group": ""}]}, lambda: (User("joe"), "GET", "/api/v1/pods"), True),
    ({"resources": [{"group": "apps"}]}, lambda: (User("joe"), "GET", "/api/v1/pods"), False),
    (
        {"resources": [{"resources": ["pods"]}]},
        lambda: (User("joe"), "GET", "/api/v1/namespaces/a/pods/p/log"),
        False,
    ),
    (
        {"resources": [{"resources": ["pods/*"]}]},
        lambda: (User("joe"), "GET", "/api/v1/namespaces/a/pods/p/log"),
        True,
    ),
    (
        {"resources": [{"resources": ["*/log"]}]},
        lambda: (User("joe"), "GET", "/api/v1/namespaces/a/pods/p/log"),
        True,
    ),
    (
        {"resources": [{"resources": ["pods"], "resourceNames": ["p"]}]},
        lambda: (User("joe"), "GET", "/api/v1/namespaces/a/pods/q"),
        False,
    ),
    ({"nonResourceURLs": ["/health*"]}, lambda: (User("joe"), "GET", "/healthz"), True),
    ({"nonResourceURLs": ["/health*"]}, lambda: (User("joe"), "GET", "/api/v1/pods"), False),
]


@pytest.mark.parametrize(("rule", "request_", "told"), RULES)
def test_which_rule_holds(rule: Obj, request_: Callable[[], tuple[User, str, str]], told: bool) -> None:
    user, method, path = request_()
    found = parse(policy({"level": "Metadata", **rule})).decide(user, parse_path(method, path, False))
    assert found.level == ("Metadata" if told else "None")


def test_the_first_rule_holds_and_stages_add_up() -> None:
    rules = [{"level": "None", "users": ["a"]}, {"level": "Request", "omitStages": ["RequestReceived"]}]
    found = parse(policy(*rules, omitStages=["Panic"]))
    info = parse_path("GET", "/api/v1/pods", False)
    assert found.decide(User("a"), info).level == "None"
    decision = found.decide(User("b"), info)
    assert decision.level == "Request" and decision.omit_stages == {"RequestReceived", "Panic"}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "kind must be Policy"),
        (policy(), "loaded illegal policy with 0 rules"),
        (policy({"users": ["a"]}), "rules[0].level: Required value"),
        (policy({"level": "None", "nonResourceURLs": ["a"]}), 'must start with "/"'),
        (policy({"level": "None", "nonResourceURLs": ["/"], "namespaces": ["a"]}), "cannot apply to both"),
        (policy({"level": "None", "omitStages": ["Never"]}), "allowed stages are"),
        (policy({"level": "None", "colour": 1}), 'rules[0]: unknown field "colour"'),
        (policy({"level": "None", "resources": [{"resourceNames": ["a"]}]}), "requires at least one resource"),
    ],
)
def test_policies_that_are_none(document: Obj, why: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(document)
    assert why in str(caught.value)


def test_the_file_rotates(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    file = LogFile(path, max_bytes=100, backups=2)
    for number in range(5):
        file.lines.append(b"%d" % number + b"x" * 58 + b"\n")
        file.flush()
    assert [path.read_bytes()[:1], (tmp_path / "audit.log.1").read_bytes()[:1]] == [b"4", b"3"]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["audit.log", "audit.log.1", "audit.log.2"]
    assert path.stat().st_mode & 0o777 == 0o600
