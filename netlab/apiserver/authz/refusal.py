"""PURE. How a refusal reads."""

from netlab.api import errors
from netlab.api.errors import StatusError
from netlab.apiserver.authz.authorizer import Action


def forbidden(user: str, action: Action, reason: str) -> StatusError:
    """403 as upstream's responsewriters.Forbidden words it."""
    resource = f"{action.resource}/{action.subresource}" if action.subresource else action.resource
    qualified = f"{action.resource}.{action.group}" if action.group else action.resource
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    subject = f"{qualified} {errors.quote(action.name)}" if action.name else qualified
    why = f'User "{user}" cannot {action.verb} resource "{resource}" in API group "{action.group}" {where}'
    details = {"kind": action.resource}
    if action.group:
        details["group"] = action.group
    if action.name:
        details["name"] = action.name
    message = f"{subject} is forbidden: {why}" + (f": {reason}" if reason else "")
    return errors.status(403, "Forbidden", message, details)
