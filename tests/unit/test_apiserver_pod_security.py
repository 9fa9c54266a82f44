"""PodSecurity: levels by labels of the namespace, in upstream's words."""

from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, PODS, account, harness, pod

from netlab.apiserver.admission.pod_security.checks import violations

Obj = dict[str, Any]
NAMESPACE = "/api/v1/namespaces/default"
MERGE = {"content-type": "application/merge-patch+json"}
GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
BARE = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def spec(context: Obj | None = None, **more: Any) -> Obj:
    container = {"name": "c", "securityContext": context or {}, **more.pop("container", {})}
    return {"containers": [container], **more}


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        (spec(), "baseline", ""),
        (spec(), "restricted", BARE),
        (spec(GOOD), "restricted", ""),
        (
            spec({"privileged": True}),
            "baseline",
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            spec(hostNetwork=True, hostPID=True, container={"ports": [{"hostPort": 80}]}),
            "baseline",
            'host namespaces (hostNetwork=true, hostPID=true), hostPort (container "c" uses hostPort 80)',
        ),
        (
            spec({"capabilities": {"add": ["SYS_TIME", "NET_ADMIN", "CHOWN"]}}),
            "baseline",
            'non-default capabilities (container "c" must not include "NET_ADMIN", "SYS_TIME" in '
            "securityContext.capabilities.add)",
        ),
        (
            spec(GOOD, volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
            "restricted",
            'restricted volume types (volume "v" uses restricted volume type "hostPath")',
        ),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "baseline", 'hostPath volumes (volume "v")'),
        (spec({**GOOD, "runAsUser": 0}), "restricted", 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}]}),
            "baseline",
            "forbidden sysctl (kernel.msgmax)",
        ),
    ],
)
def test_what_levels_forbid(given: Obj, level: str, said: str) -> None:
    assert violations(given, level) == said
    assert violations(given, "privileged") == ""


async def test_a_namespace_enforces_and_warns(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", ACCOUNTS, account("default"))
        await h.ok("POST", PODS, pod("old"))
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
        await h.ok("PATCH", NAMESPACE, {"metadata": {"labels": labels}}, headers=MERGE)
        assert "violate the new PodSecurity enforce level" in h.headers["Warning"]
        assert "old: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot" in h.headers["Warning"]
        assert await h.refused("POST", PODS, pod("p")) == (
            403,
            "Forbidden",
            f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {BARE}',
        )
        labelled = {"matchLabels": {"a": "b"}}
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
        url = "/apis/apps/v1/namespaces/default/deployments"
        await h.ok("POST", url, {"metadata": {"name": "d"}, "spec": {"selector": labelled, "template": template}})
        assert 'would violate PodSecurity \\"restricted:latest\\"' in h.headers["Warning"]
        await h.ok("PATCH", f"{PODS}/old", {"metadata": {"labels": {"still": "here"}}}, headers=MERGE)


async def test_a_level_must_be_one(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        body = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "strict"}}}
        code, _, said = await h.refused("PATCH", NAMESPACE, body, headers=MERGE)
        assert code == 422
        assert said.endswith('Invalid value: "strict": must be one of privileged, baseline, restricted')
