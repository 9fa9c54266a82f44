"""PURE. Pod specs that were found right before: the pods of a workload differ in little, so most need no second look.

What is remembered is the spec's text, with the one name in it that the server makes up for every pod (that of the token
volume) set to a name that no text can hold: consistent renaming keeps a right spec right.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import orjson

from netlab.api.types import Obj
from netlab.api.validation.field import FieldError
from netlab.api.validation.pod_spec import pod_spec

_MADE_UP = re.compile(rb"kube-api-access-[a-z0-9]{5}")
_MOST, _LARGEST = 256, 16 << 10
_right: OrderedDict[bytes, None] = OrderedDict()


def spec_of_pod(spec: Obj, pod_name: str) -> list[FieldError]:
    """As `pod_spec` for a pod by itself. Specs whose findings depend on the pod's name are always looked at."""
    text = _text(spec)
    if text is not None and text in _right:
        _right.move_to_end(text)
        return []
    found = pod_spec(spec, "spec", pod_name=pod_name, is_pod=True)
    if text is not None and not found:
        _right[text] = None
        if len(_right) > _MOST:
            _right.popitem(last=False)
    return found


def _text(spec: Obj) -> bytes | None:
    volumes = spec.get("volumes") or ()
    if any("ephemeral" in volume for volume in volumes):
        return None
    text = orjson.dumps(spec)
    if len(text) > _LARGEST:
        return None
    made_up = [name for volume in volumes if (name := str(volume.get("name", "")).encode()).startswith(b"kube-api-")]
    if len(made_up) == 1 and _MADE_UP.fullmatch(made_up[0]):
        # the quotes keep longer names that begin alike out of it; JSON never holds a bare control character
        text = text.replace(b'"%b"' % made_up[0], b'"\0"')
    return text
