"""The audit log: who asked for what, as JSON lines of audit.k8s.io/v1 Events, by a policy that the user writes.

Off without a policy file, and then it costs one comparison per request. `policy` is pure, `record` makes the events of
one request, `file` writes and rotates. Source followed: apiserver/pkg/audit, plugin/pkg/audit/log.
"""

from netlab.apiserver.audit.auditor import Auditor, open_auditor
from netlab.apiserver.audit.record import Record

__all__ = ["Auditor", "Record", "open_auditor"]
