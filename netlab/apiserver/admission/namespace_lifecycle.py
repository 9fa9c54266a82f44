"""NamespaceLifecycle: nothing is created in a namespace that is missing or ending; the first ones cannot be deleted.

Source followed: apiserver/pkg/admission/plugin/namespace/lifecycle.
"""

from netlab.api import errors
from netlab.api.resources import get
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

IMMORTAL = ("default", "kube-system", "kube-public")


def _mutate(reader: Reader, attributes: Attributes) -> None:
    resource = attributes.resource
    if resource.kind == "Namespace" and not resource.group:
        if attributes.operation == "DELETE" and attributes.name in IMMORTAL:
            raise errors.forbidden(resource, attributes.name, "this namespace may not be deleted")
        return
    if attributes.operation != "CREATE" or not attributes.namespace:
        return
    if resource.kind == "LocalSubjectAccessReview":
        return
    namespace = reader.read("v1", "Namespace", "", attributes.namespace)
    if namespace is None:
        raise errors.not_found(get("v1", "Namespace"), attributes.namespace)
    if namespace.get("status", {}).get("phase") != "Terminating":
        return
    message = f"namespace {attributes.namespace} is being terminated"
    cause = errors.cause("NamespaceTerminating", "metadata.namespace", message)
    why = f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
    raise errors.forbidden(resource, attributes.name, why, [cause])


PLUGIN = Plugin("NamespaceLifecycle", mutate=_mutate)
