"""Acting as somebody else: the Impersonate-* headers, each allowed by RBAC's verb "impersonate".

Source followed: apiserver/pkg/endpoints/filters/impersonation.go.
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from netlab.api import errors
from netlab.apiserver.authn.certificates import AUTHENTICATED
from netlab.apiserver.authz import Action
from netlab.apiserver.wire.message import ANONYMOUS, User

_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
UNAUTHENTICATED = "system:unauthenticated"


def asked(headers: Mapping[str, str]) -> bool:
    """Whether anybody is to be impersonated; cheap, it is asked for every request. Extras alone impersonate nobody."""
    return "impersonate-user" in headers or "impersonate-group" in headers or "impersonate-uid" in headers


def impersonated(headers: Mapping[str, str], groups: Sequence[str]) -> User | None:
    """Whom the headers name (`groups` are the values of Impersonate-Group), or None. Raises 500 as upstream."""
    name = headers.get("impersonate-user", "")
    uid = headers.get("impersonate-uid", "")
    extra = tuple(_extra(headers))
    if not name:
        if groups or uid or extra:
            raise errors.internal(f"requested {_listed(groups, uid, extra)} without impersonating a user")
        return None
    found = list(groups)
    if name.startswith(_ACCOUNT) and not found and name.count(":") == 3:
        namespace = name.split(":")[2]
        found = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    if name == ANONYMOUS.name:
        if UNAUTHENTICATED not in found:
            found.append(UNAUTHENTICATED)
    elif AUTHENTICATED not in found and UNAUTHENTICATED not in found:
        found.append(AUTHENTICATED)
    return User(name, tuple(found), uid, extra)


def _extra(headers: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys are in lower case and percent-encoded; a header that was repeated has a line for each value."""
    for header, value in headers.items():
        if header[:18].lower() == _EXTRA:
            yield unquote(header[18:].lower()), tuple(value.split("\n"))


def _listed(groups: Sequence[str], uid: str, extra: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """As Go prints a list of ObjectReferences."""
    version = "authentication.k8s.io/v1"
    parts = [f"{{Group  {group}    }}" for group in groups]
    parts += [f"{{UserExtra  {value}  {version}  {key}}}" for key, values in extra for value in values]
    if uid:
        parts.append(f"{{UID  {uid}  {version}  }}")
    return f"[{' '.join(parts)}]"


def needed(user: User, groups: Sequence[str]) -> Iterator[Action]:
    """What one must be allowed to do to act as `user`."""
    if user.name.startswith(_ACCOUNT) and user.name.count(":") == 3:
        _, _, namespace, account = user.name.split(":")
        yield Action("impersonate", "", "serviceaccounts", "", namespace, account)
    else:
        yield Action("impersonate", "", "users", "", "", user.name)
    for group in groups:
        yield Action("impersonate", "", "groups", "", "", group)
    for key, values in user.extra:
        for value in values:
            yield Action("impersonate", "authentication.k8s.io", "userextras", key, "", value)
    if user.uid:
        yield Action("impersonate", "authentication.k8s.io", "uids", "", "", user.uid)
