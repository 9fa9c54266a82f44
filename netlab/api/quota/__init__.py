"""PURE. ResourceQuotas: what an object uses, which quotas it counts against, whether it still fits.

The API server asks before it writes (`check`), the controller counts again afterwards (`usage`); both by these rules.
Sources followed: apiserver/pkg/quota/v1, pkg/quota/v1/evaluator/core, apiserver/pkg/admission/plugin/resourcequota.
"""

from netlab.api.quota.check import QuotaRefusal, check
from netlab.api.quota.evaluators import Evaluator, evaluator_for, tracked
from netlab.api.quota.lists import Amounts, equal
from netlab.api.quota.recount import recount

__all__ = ["Amounts", "Evaluator", "QuotaRefusal", "check", "equal", "evaluator_for", "recount", "tracked"]
