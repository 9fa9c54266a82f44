"""Validating webhooks: all at once; the first refusal (by their order) is told.

Source followed: apiserver `pkg/admission/plugin/webhook/validating/dispatcher.go`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.admission.attributes import Attributes
from netlab.apiserver.admission.dynamic import VALIDATING, configurations, review
from netlab.apiserver.admission.dynamic.hooks import CallingError, Invocation, ask, called, log, subject_of
from netlab.apiserver.admission.dynamic.matching import Subject

if TYPE_CHECKING:
    from netlab.apiserver.api import Api


async def validate(api: Api, attributes: Attributes, resource: Resource) -> None:
    """Raises StatusError."""
    subject = subject_of(api, attributes, resource)
    invocations = list(called(api, configurations(api, VALIDATING), subject))
    if not invocations:
        return
    found = await asyncio.gather(*(_call(api, one, subject) for one in invocations), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one


async def _call(api: Api, invocation: Invocation, subject: Subject) -> None:
    try:
        found = await ask(api, invocation, subject, mutating=False)
    except CallingError as failure:
        if not invocation.ignores_failures:
            raise errors.internal(str(failure)) from None
        log.warning("failed calling webhook, failing open %s: %s", invocation.name, failure)
        key = "failed-open.validating.webhook.admission.k8s.io/round_0_index_0"
        subject.attributes.annotations[key] = invocation.name
        return
    if not found.allowed:
        raise review.refusal(invocation.name, found.result)
