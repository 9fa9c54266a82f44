"""How the tables of default roles write a rule, and what their objects are made of."""

from typing import NamedTuple

from netlab.api.types import Obj
from netlab.apiserver.authz.reconcile import AUTO_UPDATE

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
ALL = f"{WRITE} {READ}"
GROUP = "rbac.authorization.k8s.io"
BOOTSTRAP = {"kubernetes.io/bootstrapping": "rbac-defaults"}


class Rule(NamedTuple):
    """Words separated by blanks, in any order; the core API group is written "core"."""

    verbs: str
    groups: str = ""
    resources: str = ""
    names: str = ""
    paths: str = ""

    def obj(self) -> Obj:
        """The PolicyRule, each of its lists in the order of the alphabet, as upstream's builder leaves them."""
        found: Obj = {"verbs": sorted(self.verbs.split())}
        if self.paths:
            found["nonResourceURLs"] = sorted(self.paths.split())
            return found
        found["apiGroups"] = sorted("" if group == "core" else group for group in self.groups.split())
        found["resources"] = sorted(self.resources.split())
        if self.names:
            found["resourceNames"] = sorted(self.names.split())
        return found


EVENTS = Rule("create patch update", "core events.k8s.io", "events")


def role(name: str, rules: tuple[Rule, ...], labels: dict[str, str] | None = None, namespace: str = "") -> Obj:
    """A default ClusterRole, or with a namespace a Role."""
    return {
        "kind": "Role" if namespace else "ClusterRole",
        "apiVersion": f"{GROUP}/v1",
        "metadata": _metadata(name, namespace, labels),
        "rules": [rule.obj() for rule in rules],
    }


def binding(name: str, to: str, subjects: list[Obj], namespace: str = "") -> Obj:
    """A default ClusterRoleBinding to a ClusterRole, or with a namespace a RoleBinding to a Role."""
    return {
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": _metadata(name, namespace),
        "roleRef": {"apiGroup": GROUP, "kind": "Role" if namespace else "ClusterRole", "name": to},
        "subjects": subjects,
    }


def subject(kind: str, name: str) -> Obj:
    """`name` of a ServiceAccount is namespace/name."""
    if kind == "ServiceAccount":
        namespace, _, account = name.partition("/")
        return {"kind": kind, "name": account, "namespace": namespace}
    return {"apiGroup": GROUP, "kind": kind, "name": name}


def _metadata(name: str, namespace: str, labels: dict[str, str] | None = None) -> Obj:
    found: Obj = {"name": name, "labels": {**BOOTSTRAP, **(labels or {})}, "annotations": {AUTO_UPDATE: "true"}}
    if namespace:
        found["namespace"] = namespace
    return found
