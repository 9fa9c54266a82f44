"""Service account tokens: JWTs that the server signs for a bound object and later recognises (KEP-1205).

A token is good while its account exists with the same uid, and the pod, secret or node that it is bound to does too;
for a minute after their deletion began they still count as there.
Source followed: pkg/serviceaccount (claims.go, jwt.go).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from netlab.api import meta
from netlab.api.token_keys import key_id
from netlab.api.types import Obj
from netlab.apiserver.authn.certificates import AUTHENTICATED
from netlab.apiserver.wire.message import User

MAX_CACHED = 4096
_LEEWAY = 60.0
_PREFIX = "authentication.kubernetes.io/"
_BOUND = {"pod": "Pod", "secret": "Secret", "node": "Node"}


class Reader(Protocol):
    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Obj | None: ...


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified token's content; `expires` in seconds since the epoch."""

    private: Obj
    audiences: tuple[str, ...]
    expires: float
    jti: str


class ServiceAccountTokens:
    """Signs and recognises tokens with the cluster's service account key (PEM, P-256)."""

    def __init__(self, key: bytes, public: bytes, issuer: str, clock: Callable[[], float] = time.time) -> None:
        self._pem, self._public_pem, self.issuer, self._clock = key, public, issuer, clock
        self._verified: dict[str, Claims] = {}

    @cached_property
    def _key(self) -> Any:
        """Read once: reading it takes longer than signing."""
        return _read(self._pem)

    @cached_property
    def public(self) -> Any:
        """The key that signatures are checked with."""
        return _read(self._public_pem)

    @cached_property
    def key_id(self) -> str:
        """The key's name, in the header of every token and in the published key set."""
        return key_id(self.public)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def sign(
        self, account: Obj, audiences: Sequence[str], seconds: int, bound: Obj | None, node: Obj | None = None
    ) -> str:
        """A token for a ServiceAccount object, bound to `bound` (a Pod, Secret or Node object) if given; `node` is the
        Node of a pod, where there is one."""
        import jwt

        now = int(self._clock())
        namespace, name = meta.namespace(account), meta.name(account)
        private: Obj = {"namespace": namespace, "serviceaccount": {"name": name, "uid": meta.uid(account)}}
        if bound is not None:
            private[bound["kind"].lower()] = {"name": meta.name(bound), "uid": meta.uid(bound)}
            name_of_node = meta.get(bound, "spec", "nodeName")
            if name_of_node and bound["kind"] == "Pod":
                private["node"] = {"name": name_of_node, **({"uid": meta.uid(node)} if node is not None else {})}
        claims = {
            "aud": list(audiences) or [self.issuer],
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": self.issuer,
            "jti": meta.new_uid(),
            "kubernetes.io": private,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self.key_id})

    def user(self, token: str, reader: Reader, audiences: Sequence[str] = ()) -> tuple[User, list[str]] | None:
        """The token's user and the audiences it is good for, or None when it is not (or no longer) good."""
        claims = self._verified.get(token) or self._verify(token)
        if claims is None or claims.expires <= self._clock():
            return None
        wanted = tuple(audiences) or (self.issuer,)
        good = [audience for audience in wanted if audience in claims.audiences]
        if not good or not _alive(claims.private, reader, self._clock()):
            return None
        return _user(claims), good

    def _verify(self, token: str) -> Claims | None:
        import jwt

        try:
            found: dict[str, Any] = jwt.decode(
                token,
                self.public,
                algorithms=["ES256"],
                issuer=self.issuer,
                options={"verify_aud": False, "require": ["exp", "iss", "sub"], "verify_exp": False},
            )
        except jwt.PyJWTError:
            return None
        private, audiences = found.get("kubernetes.io"), found.get("aud") or []
        if not isinstance(private, dict):
            return None
        listed = (audiences,) if isinstance(audiences, str) else tuple(audiences)
        claims = Claims(private, listed, float(found["exp"]), str(found.get("jti", "")))
        if len(self._verified) >= MAX_CACHED:
            self._verified.clear()
        self._verified[token] = claims
        return claims


def _read(pem: bytes) -> Any:
    import jwt

    return jwt.get_algorithm_by_name("ES256").prepare_key(pem)


def _alive(private: Obj, reader: Reader, now: float) -> bool:
    namespace = str(private.get("namespace", ""))
    account = private.get("serviceaccount") or {}
    if not _same(reader.read("v1", "ServiceAccount", namespace, str(account.get("name", ""))), account, now):
        return False
    for claim, kind in _BOUND.items():
        bound = private.get(claim)
        if bound is None or not bound.get("uid"):
            continue
        if claim == "node" and ("pod" in private or "secret" in private):
            continue  # told, not bound to
        where = "" if kind == "Node" else namespace
        if not _same(reader.read("v1", kind, where, str(bound.get("name", ""))), bound, now):
            return False
    return True


def _same(obj: Obj | None, claim: Obj, now: float) -> bool:
    if obj is None or meta.uid(obj) != claim.get("uid"):
        return False
    ends = obj["metadata"].get("deletionTimestamp")
    return not ends or meta.parse_time(ends) >= now - _LEEWAY


def _user(claims: Claims) -> User:
    private = claims.private
    namespace, account = private["namespace"], private["serviceaccount"]
    extra = [(f"{_PREFIX}credential-id", (f"JTI={claims.jti}",))] if claims.jti else []
    for claim in ("node", "pod"):
        bound = private.get(claim) or {}
        extra += [(f"{_PREFIX}{claim}-{field}", (str(bound[field]),)) for field in ("name", "uid") if bound.get(field)]
    return account_user(namespace, account["name"], str(account.get("uid", "")), tuple(extra))


def account_user(namespace: str, name: str, uid: str, extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> User:
    """Whom a ServiceAccount's token stands for."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)
