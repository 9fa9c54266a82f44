"""The question and the answer, and the chain that answers: masters, then nodes, then RBAC."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from netlab.api.types import Obj
from netlab.apiserver.wire.message import User

MASTERS = "system:masters"


class Action(NamedTuple):
    """What somebody wants to do: to a resource, or (resource empty) to a path.

    `fields` are the values that a list's or watch's field selector requires.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""


ALLOWED = Decision(True)


class Mode(Protocol):
    """One way to decide. None, or a no with a reason, leave it to the next."""

    def decide(self, user: User, action: Action) -> Decision | None: ...

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[Obj]]:
        """Resource rules and path rules of a user in a namespace, as SelfSubjectRulesReview lists them."""
        ...


class Authorizer:
    """The first mode that allows decides; when none does it is a no, with all their reasons."""

    def __init__(self, *modes: Mode) -> None:
        self._modes = modes

    def decide(self, user: User, action: Action) -> Decision:
        if MASTERS in user.groups:
            return ALLOWED
        reasons = []
        for mode in self._modes:
            decision = mode.decide(user, action)
            if decision is None:
                continue
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[Obj]]:
        """What a user may do in a namespace, of all modes."""
        everything = AlwaysAllow().rules(user, namespace)
        if MASTERS in user.groups:
            return everything
        resources: list[Obj] = []
        paths: list[Obj] = []
        for mode in self._modes:
            found = mode.rules(user, namespace)
            resources += found[0]
            paths += found[1]
        return resources, paths


class AlwaysAllow:
    """For clusters without authorisation."""

    def decide(self, user: User, action: Action) -> Decision | None:
        return ALLOWED

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[Obj]]:
        resources = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        return resources, [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
