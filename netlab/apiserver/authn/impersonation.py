"""Acting as somebody else: the Impersonate-* headers, each allowed by RBAC's verb "impersonate".

Source followed: apiserver/pkg/endpoints/filters/impersonation.go.
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from netlab.api import errors
from netlab.apiserver.authn.certificates import AUTHENTICATED
from netlab.apiserver.authz import Action
from netlab.apiserver.wire.message import User

_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"


def impersonated(headers: Mapping[str, str], groups: Sequence[str]) -> User | None:
    """Whom the headers name (`groups` are the values of Impersonate-Group), or None. Raises 500 as upstream."""
    name = headers.get("impersonate-user", "")
    uid = headers.get("impersonate-uid", "")
    extra = tuple((unquote(key[len(_EXTRA) :]), (value,)) for key, value in headers.items() if key.startswith(_EXTRA))
    if not name:
        if groups or uid or extra:
            raise errors.internal("requested impersonation of groups or extra without impersonating a user")
        return None
    found = list(groups)
    if name.startswith(_ACCOUNT) and not found and name.count(":") == 3:
        namespace = name.split(":")[2]
        found = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    if name == "system:anonymous":
        found = found or ["system:unauthenticated"]
    elif AUTHENTICATED not in found:
        found.append(AUTHENTICATED)
    return User(name, tuple(found), uid, extra)


def needed(user: User, groups: Sequence[str]) -> Iterator[Action]:
    """What one must be allowed to do to act as `user`."""
    if user.name.startswith(_ACCOUNT) and user.name.count(":") == 3:
        _, _, namespace, account = user.name.split(":")
        yield Action("impersonate", "", "serviceaccounts", "", namespace, account)
    else:
        yield Action("impersonate", "", "users", "", "", user.name)
    for group in groups:
        yield Action("impersonate", "", "groups", "", "", group)
    if user.uid:
        yield Action("impersonate", "authentication.k8s.io", "uids", "", "", user.uid)
    for key, values in user.extra:
        for value in values:
            yield Action("impersonate", "authentication.k8s.io", "userextras", key, "", value)
