"""Admission that users configure: webhooks and ValidatingAdmissionPolicies.

`Dynamic` knows whether there is any (it follows the four collections), so that a write without any costs two look-ups
of an attribute; everything else is imported when the first one is there. `matching`, `review` and `policies` decide
and are PURE; `calls` is the only file that connects.

Sources followed: apiserver `pkg/admission/plugin/webhook`, `pkg/admission/plugin/policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from netlab.api.resources import Registry, Resource, get
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes
from netlab.store import Event

if TYPE_CHECKING:
    from netlab.apiserver.admission.dynamic.calls import Caller
    from netlab.apiserver.api import Api
    from netlab.apiserver.wire.message import Request

GROUP = "admissionregistration.k8s.io"
_V1 = f"{GROUP}/v1"
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
EXEMPT = frozenset(
    f"{plural}.{GROUP}"
    for plural in (
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    )
)
"""What configures admission is never itself subject to it: a wrong webhook can always be removed."""


class Dynamic:
    """What is configured at present."""

    def __init__(self) -> None:
        self.mutating = False
        self.validating = False
        self.registry: Registry | None = None
        self.same: dict[Resource, list[Resource]] = {}
        """Versions of the same objects, as far as they were asked for, in that registry."""
        self._caller: Caller | None = None

    def follow(self, api: Api) -> None:
        """Know from now on whether anything is configured."""

        def look(events: Sequence[Event] = ()) -> None:
            counts = {kind: api.store.count(collection) for kind, collection in collections.items()}
            self.mutating = counts[MUTATING] > 0
            self.validating = counts[VALIDATING] > 0 or (counts[POLICY] > 0 and counts[BINDING] > 0)

        kinds = (MUTATING, VALIDATING, POLICY, BINDING)
        collections = {kind: api.stored(get(_V1, kind)).collection for kind in kinds}
        for collection in collections.values():
            api.store.subscribe(collection, look)
        look()

    def caller(self) -> Caller:
        """Who calls webhooks; made at the first call."""
        if self._caller is None:
            from netlab.apiserver.admission.dynamic.calls import Caller

            self._caller = Caller()
        return self._caller

    async def close(self) -> None:
        if self._caller is not None:
            await self._caller.close()

    async def mutate(self, api: Api, attributes: Attributes, resource: Resource, request: Request) -> None:
        """Let webhooks change `attributes.obj`; `resource` is the version of the request. Raises StatusError."""
        if attributes.resource.group_resource not in EXEMPT:
            _complete(attributes, request)
            from netlab.apiserver.admission.dynamic.mutating import mutate

            await mutate(api, attributes, resource)

    async def validate(self, api: Api, attributes: Attributes, resource: Resource, request: Request) -> None:
        """Ask policies, then webhooks. Raises StatusError."""
        if attributes.resource.group_resource in EXEMPT:
            return
        _complete(attributes, request)
        if api.read_all(_V1, BINDING, ""):
            from netlab.apiserver.admission.dynamic.policies import judge

            judge(api, attributes, resource)
        if api.read_all(_V1, VALIDATING, ""):
            from netlab.apiserver.admission.dynamic.validating import validate

            await validate(api, attributes, resource)

    async def both(self, api: Api, attributes: Attributes, resource: Resource, request: Request) -> None:
        """For operations that have nothing to validate in between. Raises StatusError."""
        if self.mutating:
            await self.mutate(api, attributes, resource, request)
        if self.validating:
            await self.validate(api, attributes, resource, request)

    async def connect(self, api: Api, request: Request, resource: Resource) -> None:
        """A connection to a pod, service or node (exec, attach, portforward, proxy). Raises StatusError."""
        info = request.info
        obj = connect_options(info.subresource, resource, parse_qsl(request.raw_query, keep_blank_values=True))
        attributes = Attributes(
            "CONNECT", resource, info.subresource, info.namespace, info.name, obj, None, request.user
        )
        attributes.warnings = request.warnings
        await self.both(api, attributes, resource, request)


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def _complete(attributes: Attributes, request: Request) -> None:
    """What only webhooks and policies ask for; what they note goes to the audit log, where there is one."""
    attributes.options = options_of(attributes, request)
    if request.audit is not None:
        attributes.annotations = request.audit.annotations


def options_of(attributes: Attributes, request: Request) -> Obj:
    """The options of a request, as meta.k8s.io/v1 names them; none for a connection."""
    kind = _OPTIONS.get(attributes.operation)
    if kind is None:
        return {}
    found: Obj = {"kind": "PatchOptions" if request.method == "PATCH" else kind, "apiVersion": "meta.k8s.io/v1"}
    if attributes.dry_run:
        found["dryRun"] = ["All"]
    names = ("fieldManager", "fieldValidation") if kind != "DeleteOptions" else ("propagationPolicy",)
    return found | {name: request.query[name] for name in names if request.query.get(name)}


_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


def connect_options(subresource: str, resource: Resource, query: Sequence[tuple[str, str]]) -> Obj:
    """PodExecOptions, PodAttachOptions, …: what admission sees of a connection."""
    kinds = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
    found: Obj = {"kind": kinds.get(subresource, f"{resource.kind}ProxyOptions"), "apiVersion": "v1"}
    if subresource in ("exec", "attach"):
        found |= {
            name: True for name, value in query if name in ("stdin", "stdout", "stderr", "tty") and value in _TRUE
        }
        found |= {name: value for name, value in query if name == "container"}
        command = [value for name, value in query if name == "command"]
        return found | ({"command": command} if command else {})
    if subresource == "portforward":
        ports = [int(one) for name, value in query if name == "ports" for one in value.split(",") if one.isdecimal()]
        return found | ({"ports": ports} if ports else {})
    return found | {name: value for name, value in query if name == "path"}


def configurations(api: Api, kind: str) -> list[Obj]:
    """The configurations of a kind, in the order in which they are asked: by name."""
    return sorted(api.read_all(_V1, kind, ""), key=lambda one: str(one["metadata"]["name"]))
