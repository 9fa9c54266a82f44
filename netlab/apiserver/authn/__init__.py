"""Who is asking: client certificate, bearer token, or nobody. Source followed: apiserver/pkg/authentication.

It answers with a `User` or None; what the user may do is `authz`'s business.
"""

from netlab.apiserver.authn.authenticator import Authenticator

__all__ = ["Authenticator"]
