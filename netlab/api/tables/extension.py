"""What extends the API: webhooks, admission policies, CustomResourceDefinitions, APIServices."""

from __future__ import annotations

from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.human import text
from netlab.api.tables.model import AGE, NAME, Printer, integer, string
from netlab.api.types import Obj

WEBHOOKS = Printer(
    (NAME, integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"), AGE),
    lambda obj, now: [meta.name(obj), len(obj.get("webhooks") or ()), human.age(obj, now)],
)


def _policy(obj: Obj, now: float) -> list[Any]:
    kind = meta.get(obj, "spec", "paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else human.UNSET
    return [meta.name(obj), len(meta.get(obj, "spec", "validations", default=[])), shown, human.age(obj, now)]


ADMISSION_POLICY = Printer(
    (
        NAME,
        integer("Validations", "Validations indicates the number of validation rules"),
        string("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ),
    _policy,
)


def _binding(obj: Obj, now: float) -> list[Any]:
    ref = meta.get(obj, "spec", "paramRef")
    shown = human.UNSET
    if ref and ref.get("name"):
        shown = f"{ref.get('namespace') or '*'}/{ref['name']}"
    elif ref and ref.get("selector") is not None:
        shown = human.format_selector(ref["selector"])
    return [meta.name(obj), text(obj, "spec", "policyName"), shown, human.age(obj, now)]


ADMISSION_POLICY_BINDING = Printer(
    (
        NAME,
        string("PolicyName", "The policy that is bound."),
        string("ParamRef", "The object with the parameters."),
        AGE,
    ),
    _binding,
)


def _api_service(obj: Obj, now: float) -> list[Any]:
    service = meta.get(obj, "spec", "service")
    shown = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    available = meta.condition(obj, "Available")
    status = "Unknown"
    if available is not None:
        status = available.get("status", "Unknown")
        if status != "True" and available.get("reason"):
            status = f"{status} ({available['reason']})"
    return [meta.name(obj), shown, status, human.age(obj, now)]


API_SERVICE = Printer(
    (
        NAME,
        string("Service", "The reference to the service that hosts this API endpoint."),
        string("Available", "Whether this service is available."),
        AGE,
    ),
    _api_service,
)
