"""The node authorizer: kubelets reach their own node, their own pods, and what these pods need.

Who is a kubelet: user system:node:<name> in group system:nodes. Refusals are no opinion (RBAC may still allow), with a
reason that the final refusal ends with. Source followed: plugin/pkg/auth/authorizer/node/node_authorizer.go, with
AuthorizeNodeWithSelectors (on by default in 1.33).
"""

from collections.abc import Callable

from netlab.api.types import Obj
from netlab.apiserver.authz.authorizer import ALLOWED, Action, Decision
from netlab.apiserver.authz.node_graph import NodeGraph, Ref
from netlab.apiserver.authz.policy import NODE_RULES
from netlab.apiserver.authz.rbac import Grants
from netlab.apiserver.wire.message import User

GROUP, PREFIX = "system:nodes", "system:node:"
LEASES = "kube-node-lease"


def node_of(user: User) -> str | None:
    """The node that a user speaks for; "" for one that cannot be told, None for everybody else."""
    if not user.name.startswith(PREFIX) or GROUP not in user.groups:
        return None
    return user.name[len(PREFIX) :]


def _no(reason: str = "") -> Decision:
    return Decision(False, reason)


class NodeAuthorizer:
    """A mode of `netlab.apiserver.authz.Authorizer`."""

    def __init__(self, graph: NodeGraph) -> None:
        self._graph = graph
        self._rules = Grants()
        for rule in NODE_RULES:
            self._rules.add(rule.obj(), "")

    def decide(self, user: User, action: Action) -> Decision | None:
        node = node_of(user)
        if node is None:
            return None
        if not node:
            return _no(f'unknown node for user "{user.name}"')
        rule = _RULES.get((action.group, action.resource))
        if rule is not None:
            return rule(self, node, action)
        return ALLOWED if self._rules.allow(action) else _no()

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[Obj]]:
        """Nothing: what a node may do cannot be listed."""
        return [], []

    def _related(self, node: str, action: Action) -> Decision:
        if not action.name:
            return _no("No Object name found")
        if self._graph.related(node, Ref(action.resource, action.namespace, action.name)):
            return ALLOWED
        return _no(f"no relationship found between node '{node}' and this object")

    def _read(self, node: str, action: Action) -> Decision:
        if action.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if action.subresource:
            return _no("cannot read subresource")
        if not action.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, action)

    def _get(self, node: str, action: Action) -> Decision:
        if action.verb != "get":
            return _no("can only get individual resources of this type")
        if action.subresource:
            return _no("cannot get subresource")
        return self._related(node, action)

    def _claim(self, node: str, action: Action) -> Decision:
        if action.subresource != "status":
            return self._get(node, action)
        if action.verb not in ("update", "patch"):
            return _no("can only get/update/patch this type")
        return self._related(node, action)

    def _token(self, node: str, action: Action) -> Decision:
        if action.verb != "create" or not action.name:
            return _no("can only create tokens for individual service accounts")
        if action.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, action)

    def _lease(self, node: str, action: Action) -> Decision:
        if action.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a node lease")
        if action.namespace != LEASES:
            return _no(f'can only access leases in the "{LEASES}" system namespace')
        if action.verb != "create" and action.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return ALLOWED

    def _csi_node(self, node: str, action: Action) -> Decision:
        if action.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a CSINode")
        if action.subresource:
            return _no("cannot authorize CSINode subresources")
        if action.verb != "create" and action.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return ALLOWED

    def _node(self, node: str, action: Action) -> Decision:
        """Which node may be written is NodeRestriction's business."""
        writes = action.verb in ("update", "patch")
        if action.subresource == "status":
            return ALLOWED if writes else _no()
        if action.subresource:
            return _no()
        if writes or action.verb == "create":
            return ALLOWED
        if action.verb not in ("get", "list", "watch"):
            return _no()
        # by name and not by the graph: a kubelet looks for its Node before there is one
        if action.name == node:
            return ALLOWED
        if not action.name:
            return _no(f"node '{node}' cannot read all nodes, only its own Node object")
        return _no(f"node '{node}' cannot read '{action.name}', only its own Node object")

    def _pod(self, node: str, action: Action) -> Decision:
        verb, through = action.verb, action.subresource
        if through:
            written = (through == "status" and verb in ("update", "patch")) or (
                through == "eviction" and verb == "create"
            )
            return ALLOWED if written else _no()
        if verb in ("create", "delete"):
            return ALLOWED
        if verb == "get":
            return self._get(node, action)
        if verb not in ("list", "watch"):
            return _no()
        if ("spec.nodeName", node) in action.fields:
            return ALLOWED
        if action.name:
            return self._related(node, action)
        return _no("can only list/watch pods with spec.nodeName field selector")


_RULES: dict[tuple[str, str], Callable[[NodeAuthorizer, str, Action], Decision]] = {
    ("", "secrets"): NodeAuthorizer._read,
    ("", "configmaps"): NodeAuthorizer._read,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._get,
    ("", "serviceaccounts"): NodeAuthorizer._token,
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._get,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
}
