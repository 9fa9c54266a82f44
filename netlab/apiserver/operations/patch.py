"""PATCH: strategic merge, merge, JSON patch, and server-side apply, of an object or of a subresource."""

from netlab.api import errors
from netlab.api import patch as patches
from netlab.api.decoding import FieldValidation, UnfitError, go_type_of
from netlab.api.patch.unfit import unfit
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode, field_validation
from netlab.apiserver.operations.change import change
from netlab.apiserver.operations.options import check_patch_options
from netlab.apiserver.wire.message import Answer, Request
from netlab.apiserver.wire.negotiate import content_type


async def patch(api: Api, request: Request, resource: Resource) -> Answer:
    kind = content_type(request.headers.get("content-type", ""))
    if kind not in patches.accepted_types(resource):
        raise errors.unsupported_media_type(patches.accepted_types(resource))
    if kind == patches.APPLY_PATCH:
        from netlab.apiserver.apply.operation import apply

        check_patch_options(request, applying=True)
        return await apply(api, request, resource)
    check_patch_options(request, applying=False)
    document = patches.parse(kind, request.body)
    strictness = field_validation(request)

    before = list(request.warnings)

    def patched(current: Obj) -> Obj:
        result = patches.apply(kind, document, current, resource)
        try:
            obj, warnings = _decoded(result, current, resource, strictness)
        except UnfitError as error:
            strategic = kind == patches.STRATEGIC_MERGE_PATCH
            go_type = "" if resource.custom else go_type_of(resource)
            raise unfit(strategic, document, result, go_type, error.why) from None
        request.warnings[:] = [*before, *warnings]
        return obj

    return await change(api, request, resource, patched)


def _decoded(result: Obj, current: Obj, resource: Resource, strictness: FieldValidation) -> tuple[Obj, list[str]]:
    """As `decode`; the parts that the patch left alone are as they were decoded when they were written."""
    same = {key: part for key, part in result.items() if part is current.get(key) and isinstance(part, dict | list)}
    if resource.custom or not same:
        return decode(result, resource, strictness)
    changed = {key: part for key, part in result.items() if key not in same}
    obj, warnings = decode(changed, resource, strictness)
    whole = {**obj, **same}
    return {key: whole[key] for key in dict.fromkeys((*result, *obj)) if key in whole}, warnings
