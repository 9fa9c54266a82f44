"""The chain of ways to say who one is: certificate, then token, then anonymous."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from netlab.apiserver.authn.bootstrap import bootstrap_user
from netlab.apiserver.authn.certificates import AUTHENTICATED, user_of
from netlab.apiserver.authn.legacy import Cluster, LegacyTokens, TokenError
from netlab.apiserver.authn.token_file import TokenFile
from netlab.apiserver.authn.tokens import ServiceAccountTokens
from netlab.apiserver.wire.message import ANONYMOUS, User


class Authenticator:
    """`static` are bearer tokens that somebody wrote down: token → (user, groups); `file` holds more of them.

    `authority` (PEM) issues the certificates of clients.
    """

    def __init__(
        self,
        tokens: ServiceAccountTokens,
        static: Mapping[str, tuple[str, tuple[str, ...]]],
        *,
        authority: bytes,
        anonymous: bool,
        file: Path | None = None,
    ) -> None:
        self.tokens, self._static, self._anonymous, self._authority = tokens, static, anonymous, authority
        self._file = TokenFile(file) if file is not None else None
        self._legacy = LegacyTokens(tokens)

    def authenticate(self, cluster: Cluster, der: bytes | None, authorization: str, warnings: list[str]) -> User | None:
        """None means 401: nobody, or credentials that are not good (which never fall back to anonymous).

        `warnings` is added to: what the answer shall say of the credentials.
        """
        if der is not None:
            user = user_of(der, self._authority, self.tokens.now())
            if user is not None:
                return user
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            try:
                found = self.review(cluster, token.strip(), (), warnings)
            except TokenError:
                return None
            return found[0] if found is not None else None
        return ANONYMOUS if self._anonymous and der is None else None

    def review(
        self, cluster: Cluster, token: str, audiences: Sequence[str], warnings: list[str]
    ) -> tuple[User, list[str]] | None:
        """The token's user and the audiences that it is good for; None when it is not good.

        Raises TokenError where there is more to say about that.
        """
        static = self._static.get(token)
        if static is not None:
            name, groups = static
            return User(name, (*groups, AUTHENTICATED)), list(audiences)
        if token.count(".") == 2:
            if self._legacy.issued(token):
                return self._legacy.user(token, cluster, audiences, warnings)
            found = self.tokens.user(token, cluster, audiences)
            if found is not None:
                return found
        user = self._file.user(token) if self._file is not None else None
        user = user or bootstrap_user(token, cluster, self.tokens.now())
        return (user, list(audiences)) if user is not None else None
