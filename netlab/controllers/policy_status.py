"""The status of ValidatingAdmissionPolicies: which generation was type-checked, and what that found.

Source followed: pkg/controller/validatingadmissionpolicystatus. The kinds and their schemas are asked of the API
server, as its clients do: discovery and OpenAPI v3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.kinds import VALIDATING_ADMISSION_POLICIES as POLICIES
from netlab.controllers.context import Context

if TYPE_CHECKING:
    from netlab.api.cel.types import Type
    from netlab.controllers.policy_types import Kind

MANAGER = "validatingadmissionpolicy-status-controller"


class PolicyStatusController:
    """A key is a policy."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("validatingadmissionpolicy-status")
        self.policies = context.informer(POLICIES)
        self.policies.add_handler(self._enqueue, lambda old, new: self._enqueue(new), None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.policies)
        await self.queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: str) -> None:
        """Check the types of one policy, once for each generation."""
        policy = self.policies.store.get(key)
        if policy is None:
            return
        generation = int(policy["metadata"].get("generation") or 0)
        if generation <= int(meta.get(policy, "status", "observedGeneration", default=0)):
            return
        found = await self._check(policy["spec"])
        checked: Obj = {"expressionWarnings": found} if found else {}
        wanted = {
            "apiVersion": policy["apiVersion"],
            "kind": policy["kind"],
            "metadata": {"name": meta.name(policy)},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        }
        patch = self.client.patch(
            POLICIES,
            meta.name(policy),
            wanted,
            patch_type="apply",
            subresource="status",
            field_manager=MANAGER,
            force=True,
        )
        self.policies.observe(await patch)

    async def _check(self, spec: Obj) -> list[Obj]:
        from netlab.controllers import policy_types as checking

        kinds: set[Kind] = set()
        for rule in checking.places(spec):
            count = 0
            for group, version, resource in rule:
                kind = await self._kind(group, version, resource)
                if kind is not None and count < checking.MOST:
                    kinds.add(kind)
                    count += 1
        typed = [checking.Typed(kind, found) for kind in sorted(kinds) if (found := await self._type(kind)) is not None]
        return checking.warnings(spec, typed, await self._param(spec)) if typed else []

    async def _param(self, spec: Obj) -> Type | None:
        from netlab.controllers.policy_types import Kind

        kind = spec.get("paramKind")
        if not kind:
            return None
        group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
        return await self._type(Kind(group, version, str(kind.get("kind", ""))))

    async def _kind(self, group: str, version: str, resource: str) -> Kind | None:
        from netlab.controllers.policy_types import Kind

        found = await self._document(f"/{_place(group, version)}")
        names = {one["name"]: one["kind"] for one in (found or {}).get("resources") or ()}
        return Kind(group, version, names[resource]) if resource in names else None

    async def _type(self, kind: Kind) -> Type | None:
        from netlab.controllers.policy_types import schema_of, type_of

        document = await self._document(f"/openapi/v3/{_place(kind.group, kind.version)}")
        schema = schema_of(document, kind) if document is not None else None
        return type_of(schema, kind.kind) if schema is not None else None

    async def _document(self, path: str) -> Obj | None:
        """What is served there; None: nothing. Raises OSError where the server does not answer well."""
        answer = await self.client.transport.request("GET", path, headers={"Accept": "application/json"})
        if answer.status in (404, 403):
            return None
        if answer.status != 200:
            raise OSError(f"GET {path}: status {answer.status}")
        found: Obj = orjson.loads(answer.body)
        return found

    def _enqueue(self, policy: Obj) -> None:
        self.queue.add(meta.key(policy))


def _place(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


__all__ = ["MANAGER", "PolicyStatusController"]
