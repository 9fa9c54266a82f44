"""Who may do what. Source followed: plugin/pkg/auth/authorizer (rbac, node) and its bootstrap policy.

It reads roles and bindings from the stored state and answers yes or no with a reason; it changes nothing.
"""

from netlab.apiserver.authz.authorizer import Action, Authorizer, Decision
from netlab.apiserver.authz.refusal import forbidden

__all__ = ["Action", "Authorizer", "Decision", "forbidden"]
