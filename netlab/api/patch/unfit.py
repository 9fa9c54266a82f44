"""What a patch is told whose result does not fit: 422 about `patch`, with the patch (or its result) as the value.

Source followed: apiserver `endpoints/handlers/patch.go` (`applyPatchToObject`, `applyPatchToCurrentObject`).
"""

from __future__ import annotations

from typing import Any

import orjson

from netlab.api import errors
from netlab.api.gotypes import restore
from netlab.api.types import Obj
from netlab.api.validation.gofmt import go_print, quote

_STRICT = "strict decoding error: "


def unfit(strategic: bool, patch: Any, result: Obj, go_type: str, why: str) -> errors.StatusError:
    """PURE. `why` is the decoder's error for `result`; `go_type` "" where the kind is custom.

    A strategic merge patch shows itself and is told the converter's error, or the unknown fields in order of their
    text; the other patches show their result.
    """
    if not strategic:
        return _invalid(orjson.dumps(result, option=orjson.OPT_SORT_KEYS).decode(), why)
    if why.startswith(_STRICT):
        return _invalid(go_print(patch), _STRICT + ", ".join(sorted(why[len(_STRICT) :].split(", "))))
    return _invalid(go_print(patch), restore.problem(go_type, result) or why)


def _invalid(value: str, why: str) -> errors.StatusError:
    return errors.invalid("", "", [errors.cause("FieldValueInvalid", "patch", f"Invalid value: {quote(value)}: {why}")])
