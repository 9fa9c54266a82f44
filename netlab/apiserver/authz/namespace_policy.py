"""The default Roles and RoleBindings of kube-system and kube-public. Source: bootstrappolicy/namespace_policy.go."""

from netlab.apiserver.authz.policy_rule import EVENTS, READ, Rule

SYSTEM, PUBLIC = "kube-system", "kube-public"
_READER = "extension-apiserver-authentication-reader"
_PREFIX = "system:controller:"
_SIGNER, _CLOUD, _CLEANER = (_PREFIX + name for name in ("bootstrap-signer", "cloud-provider", "token-cleaner"))
_LEADING = "system::leader-locking-"

ROLES: tuple[tuple[str, str, tuple[Rule, ...]], ...] = (
    (SYSTEM, _READER, (Rule(READ, "core", "configmaps", "extension-apiserver-authentication"),)),
    (SYSTEM, _SIGNER, (Rule(READ, "core", "secrets"),)),
    (SYSTEM, _CLOUD, (Rule("create get list watch", "core", "configmaps"),)),
    (SYSTEM, _CLEANER, (Rule("delete get list watch", "core", "secrets"), EVENTS)),
    *(
        (
            SYSTEM,
            f"{_LEADING}{name}",
            (Rule("watch", "core", "configmaps"), Rule("get update", "core", "configmaps", name)),
        )
        for name in ("kube-controller-manager", "kube-scheduler")
    ),
    (PUBLIC, _SIGNER, (Rule(READ, "core", "configmaps"), Rule("update", "core", "configmaps", "cluster-info"), EVENTS)),
)
"""(namespace, role, rules)."""

BINDINGS: tuple[tuple[str, str, str, str, str], ...] = (
    (SYSTEM, f"system::{_READER}", _READER, "system:kube-controller-manager system:kube-scheduler", ""),
    *(
        (SYSTEM, f"{_LEADING}{name}", f"{_LEADING}{name}", f"system:{name}", f"{SYSTEM}/{name}")
        for name in ("kube-controller-manager", "kube-scheduler")
    ),
    (SYSTEM, _SIGNER, _SIGNER, "", f"{SYSTEM}/bootstrap-signer"),
    (SYSTEM, _CLOUD, _CLOUD, "", f"{SYSTEM}/cloud-provider"),
    (SYSTEM, _CLEANER, _CLEANER, "", f"{SYSTEM}/token-cleaner"),
    (PUBLIC, _SIGNER, _SIGNER, "", f"{SYSTEM}/bootstrap-signer"),
)
"""(namespace, binding, role, users, service accounts)."""
