"""Decides per request whether there is a record, and gives every request its Audit-ID."""

import logging
from pathlib import Path

import orjson

from netlab.api import meta
from netlab.api.types import Obj
from netlab.apiserver.audit.file import LogFile
from netlab.apiserver.audit.policy import Policy, PolicyError, parse
from netlab.apiserver.audit.record import Record
from netlab.apiserver.wire.message import Request, User

log = logging.getLogger("netlab.apiserver")

HEADER = "Audit-Id"


class Auditor:
    """Of one server that has a policy."""

    def __init__(self, policy: Policy, file: LogFile) -> None:
        self._policy, self.file = policy, file

    def begin(self, request: Request, user: User | None) -> Record | None:
        """The record of a request, its first event told; None where the policy wants none. `user` None: not known."""
        request.audit_id = request.headers.get("audit-id", "") or meta.new_uid()
        known = user or User("")
        decision = self._policy.decide(known, request.info)
        if decision.level == "None":
            return None
        record = Record(request, known, decision, request.audit_id, self._write)
        if user is not None:
            record.received()
        return record

    def _write(self, event: Obj) -> None:
        self.file.write(orjson.dumps(event) + b"\n")


def open_auditor(policy: Path | None, logs: Path | None) -> Auditor | None:
    """The auditor of a policy file; None where there is no file, or none that can be read, which the log says."""
    if policy is None or logs is None or not policy.exists():
        return None
    import yaml

    try:
        found = parse(yaml.safe_load(policy.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, PolicyError) as error:
        log.error("audit policy %s: %s; there is no audit log", policy, error)
        return None
    return Auditor(found, LogFile(logs))
