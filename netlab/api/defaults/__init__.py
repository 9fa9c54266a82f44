"""PURE. Defaults: what upstream fills in when a field is absent (`SetObjectDefaults_*`), per kind and version.

May not validate, allocate (addresses, ports) or look at other objects.
"""

from __future__ import annotations

from netlab.api.types import Obj


def apply_defaults(obj: Obj) -> None:
    """Fill in upstream's defaults for `obj`'s apiVersion and kind, in place; unknown kinds are left alone."""
