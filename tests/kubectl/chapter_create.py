"""kubectl create: every generator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.kubectl.matrix import OLDEST, Chapter, Kubectl

GENERATORS = Chapter("create")


class Made(NamedTuple):
    """A command (after `create`), what it prints before "created", and what is then held."""

    command: str
    printed: str
    plural: str
    holds: Callable[[Any], object]
    since: int = OLDEST
    everyday: bool = False


TABLE = (
    Made(
        "deployment d --image=registry.k8s.io/pause:3.9 --replicas=2",
        "deployment.apps/d",
        "deployments",
        lambda it: it["spec"]["replicas"] == 2 and it["spec"]["selector"] == {"matchLabels": {"app": "d"}},
        everyday=True,
    ),
    Made(
        "configmap c --from-literal=a=b",
        "configmap/c",
        "configmaps",
        lambda it: it["data"] == {"a": "b"},
        everyday=True,
    ),
    Made(
        "secret generic s --from-literal=a=b",
        "secret/s",
        "secrets",
        lambda it: it["data"] == {"a": "Yg=="},
        everyday=True,
    ),
    Made(
        "secret docker-registry reg --docker-username=u --docker-password=p --docker-email=e",
        "secret/reg",
        "secrets",
        lambda it: it["type"] == "kubernetes.io/dockerconfigjson",
    ),
    Made("serviceaccount robot", "serviceaccount/robot", "serviceaccounts", lambda it: it, everyday=True),
    Made(
        "job j --image=busybox -- true",
        "job.batch/j",
        "jobs",
        lambda it: it["spec"]["template"]["spec"]["restartPolicy"] == "Never",
        everyday=True,
    ),
    # 1.20 makes batch/v1beta1 and policy/v1beta1, gone since 1.25
    Made(
        "cronjob cj --image=busybox --schedule='0 0 1 1 *' -- true",
        "cronjob.batch/cj",
        "cronjobs",
        lambda it: it["spec"]["schedule"] == "0 0 1 1 *",
        since=27,
        everyday=True,
    ),
    Made(
        "job from --from=cronjob/cj",
        "job.batch/from",
        "jobs",
        lambda it: it["metadata"]["ownerReferences"][0]["name"] == "cj",
        since=27,
    ),
    Made(
        "pdb p --selector=app=web --min-available=1",
        "poddisruptionbudget.policy/p",
        "poddisruptionbudgets",
        lambda it: it["spec"]["minAvailable"] == 1,
        since=27,
        everyday=True,
    ),
    Made(
        "role r --verb=get,list --resource=pods",
        "role.rbac.authorization.k8s.io/r",
        "roles",
        lambda it: it["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
        everyday=True,
    ),
    Made(
        "rolebinding rb --role=r --user=joe",
        "rolebinding.rbac.authorization.k8s.io/rb",
        "rolebindings",
        lambda it: it["subjects"][0]["name"] == "joe" and it["roleRef"]["name"] == "r",
        everyday=True,
    ),
    Made(
        "clusterrole {ns} --verb=get --resource=nodes",
        "clusterrole.rbac.authorization.k8s.io/{ns}",
        "clusterroles",
        lambda it: it["rules"][0]["resources"] == ["nodes"],
    ),
    Made(
        "clusterrolebinding {ns} --clusterrole={ns} --group=g",
        "clusterrolebinding.rbac.authorization.k8s.io/{ns}",
        "clusterrolebindings",
        lambda it: it["subjects"][0]["kind"] == "Group",
    ),
    Made(
        "quota q --hard=pods=30,requests.cpu=1",
        "resourcequota/q",
        "resourcequotas",
        lambda it: it["spec"]["hard"] == {"pods": "30", "requests.cpu": "1"},
    ),
    Made(
        "ingress i --rule=a.com/=web:80",
        "ingress.networking.k8s.io/i",
        "ingresses",
        lambda it: it["spec"]["rules"][0]["http"]["paths"][0]["pathType"] == "Exact",
        everyday=True,
    ),
    Made(
        "priorityclass {ns} --value=10",
        "priorityclass.scheduling.k8s.io/{ns}",
        "priorityclasses",
        lambda it: it["value"] == 10,
    ),
    Made(
        "service clusterip ci --tcp=80:8080",
        "service/ci",
        "services",
        lambda it: it["spec"]["clusterIP"].startswith("10.") and it["spec"]["ports"][0]["targetPort"] == 8080,
        everyday=True,
    ),
    Made(
        "service nodeport np --tcp=80",
        "service/np",
        "services",
        lambda it: it["spec"]["ports"][0]["nodePort"] >= 30000,
    ),
    Made("service loadbalancer lb --tcp=80", "service/lb", "services", lambda it: it["spec"]["type"] == "LoadBalancer"),
    Made(
        "service externalname en --external-name=example.com",
        "service/en",
        "services",
        lambda it: it["spec"]["externalName"] == "example.com",
    ),
)


def _check(made: Made) -> Callable[[Kubectl], None]:
    def check(kubectl: Kubectl) -> None:
        command, printed = (text.replace("{ns}", kubectl.namespace) for text in (made.command, made.printed))
        assert kubectl.ok(f"create {command}") == f"{printed} created\n"
        found = kubectl.held(made.plural, printed.partition("/")[2])
        assert made.holds(found), found
        if kubectl.namespace in printed:
            kubectl.ok(f"delete {printed}")

    return check


for _made in TABLE:
    _words = _made.command.split()
    _name = " ".join(_words[: 2 if _words[0] in ("service", "secret") else 1])
    GENERATORS.verb(
        f"create {_name}" + (" --from" if "--from=" in _made.command else ""),
        since=_made.since,
        everyday=_made.everyday,
    )(_check(_made))


@GENERATORS.verb("create -f a file, a directory")
def _files(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in ("fa", "fb"):
            text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"
            (Path(directory) / f"{name}.yaml").write_text(text)
        assert kubectl.ok(f"create -f {directory}") == "configmap/fa created\nconfigmap/fb created\n"
        (Path(directory) / "word").write_text("hidden")
        kubectl.ok(f"create cm from-file --from-file={directory}/word")
        assert kubectl.held("configmaps", "from-file")["data"] == {"word": "hidden"}
        kubectl.fails(f"create -f {directory}", "AlreadyExists")


@GENERATORS.verb("create token", since=24)
def _token(kubectl: Kubectl) -> None:
    token = kubectl.ok("create token robot --duration=1h").strip()
    assert token.count(".") == 2
    code = f"auth can-i list pods --token={token}"
    result = kubectl.run(code)
    assert result.out.strip() in ("yes", "no"), str(result)


@GENERATORS.verb("create --dry-run=client -o yaml")
def _client(kubectl: Kubectl) -> None:
    out = kubectl.ok("create deployment dry --image=nginx --dry-run=client -o yaml")
    assert "kind: Deployment" in out
    assert kubectl.gone("deployments", "dry")
