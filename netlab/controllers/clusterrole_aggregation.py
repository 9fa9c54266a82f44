"""Collects the rules of ClusterRoles into those that have an aggregation rule: view, edit, admin and users' own.

Source followed: pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from netlab.api import labels, meta
from netlab.api.types import Obj
from netlab.client.kinds import CLUSTER_ROLES
from netlab.controllers.context import Context

MANAGER = "clusterrole-aggregation-controller"
CALM = 1.0
"""Seconds after the start until the first look: nobody waits for it, and a starting cluster has better to do."""


def collected(role: Obj, roles: Iterable[Obj]) -> list[Obj]:
    """PURE. The rules that a role's selectors collect, selector by selector, role by role by name, each rule once."""
    others = sorted((one for one in roles if meta.name(one) != meta.name(role)), key=meta.name)
    found: list[Obj] = []
    for selector in meta.get(role, "aggregationRule", "clusterRoleSelectors", default=[]):
        chosen = labels.from_label_selector(selector)
        for other in others:
            if chosen.matches(meta.labels(other)):
                found += [rule for rule in other.get("rules") or () if rule not in found]
    return found


class ClusterRoleAggregation:
    """A key is a ClusterRole with an aggregation rule. Roles are few: any change has all of them looked at."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("ClusterRoleAggregator")
        self.roles = context.informer(CLUSTER_ROLES)
        self.roles.add_handler(self._changed, self._changed, self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.roles)
        await asyncio.sleep(CALM)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Write one role's rules where they differ from what its selectors collect."""
        role = self.roles.store.get(key)
        if role is None or role.get("aggregationRule") is None:
            return
        rules = collected(role, self.roles.store.values())
        if rules == (role.get("rules") or []):
            return
        wanted = {
            "apiVersion": role["apiVersion"],
            "kind": role["kind"],
            "metadata": {"name": meta.name(role)},
            "rules": rules,
        }
        patch = self.client.patch(
            CLUSTER_ROLES, meta.name(role), wanted, patch_type="apply", field_manager=MANAGER, force=True
        )
        self.roles.observe(await patch)

    def _changed(self, *_: Obj) -> None:
        for key, role in self.roles.store.items():
            if role.get("aggregationRule") is not None:
                self.queue.add(key)
