"""ResourceQuota: what a namespace may hold. The last plug-in before the write.

The usage is charged in the turn of the event loop in which the object itself is written, and before it: both share a
commit, and whoever comes next is checked against a quota that has it. No lock and no retry is needed; only an object
that then turns out to exist already would be charged in vain, and is not charged.
Source followed: apiserver/pkg/admission/plugin/resourcequota.
"""

import time

from netlab.api import errors, meta
from netlab.api.quota import QuotaRefusal, check, evaluator_for
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

_KIND = ("v1", "ResourceQuota")


def _validate(reader: Reader, attributes: Attributes) -> None:
    if attributes.operation not in ("CREATE", "UPDATE") or not attributes.namespace or attributes.obj is None:
        return
    if not reader.any("resourcequotas"):
        return
    evaluator = evaluator_for(attributes.resource.group_resource)
    if evaluator is None or not evaluator.handles(attributes.operation, attributes.subresource):
        return
    quotas = reader.latest_all(*_KIND, attributes.namespace)
    if not quotas:
        return
    creating = attributes.operation == "CREATE"
    if creating and reader.taken(attributes.resource, attributes.namespace, meta.name(attributes.obj)):
        return
    try:
        enforced = attributes.subresource != "status"
        charges = check(quotas, evaluator, attributes.obj, attributes.old, time.time(), enforced=enforced)
    except QuotaRefusal as refusal:
        raise errors.forbidden(attributes.resource, attributes.shown_name, str(refusal)) from None
    if attributes.dry_run:
        return
    for quota in quotas:
        used = charges.get(meta.name(quota))
        if used is not None:
            quota["status"]["used"] = {name: used[name] for name in sorted(used)}
            reader.overwrite(quota)


PLUGIN = Plugin("ResourceQuota", validate=_validate)
