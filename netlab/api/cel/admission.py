"""The environment of admission: which variables its expressions have, and of which types.

Source followed: apiserver `pkg/admission/plugin/cel/compile.go`, `composition.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from netlab.api.cel.environment import Environment, Program, compile_expression
from netlab.api.cel.errors import CompileError
from netlab.api.cel.library.authorizer import AUTHORIZER, RESOURCE_CHECK
from netlab.api.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Field, Type, list_of, map_of, object_type
from netlab.api.types import Obj


def _object(type_name: str, /, **fields: Type) -> Type:
    return object_type(type_name, {key: Field(kind, key) for key, kind in fields.items()})


@lru_cache(maxsize=1)
def request_type() -> Type:
    kind = _object("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
    resource = _object("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
    extra = map_of(STRING, list_of(STRING))
    user = _object("kubernetes.UserInfo", username=STRING, uid=STRING, groups=list_of(STRING), extra=extra)
    return _object(
        "kubernetes.AdmissionRequest",
        kind=kind,
        resource=resource,
        subResource=STRING,
        requestKind=kind,
        requestResource=resource,
        requestSubResource=STRING,
        name=STRING,
        namespace=STRING,
        operation=STRING,
        userInfo=user,
        dryRun=BOOL,
        options=DYN,
    )


@lru_cache(maxsize=1)
def namespace_type() -> Type:
    texts = map_of(STRING, STRING)
    metadata = _object(
        "kubernetes.NamespaceMetadata",
        name=STRING,
        generateName=STRING,
        namespace=STRING,
        labels=texts,
        annotations=texts,
        UID=STRING,
        creationTimestamp=TIMESTAMP,
        deletionGracePeriodSeconds=INT,
        deletionTimestamp=TIMESTAMP,
        generation=INT,
        resourceVersion=STRING,
        finalizers=list_of(STRING),
    )
    condition = _object(
        "kubernetes.NamespaceCondition",
        status=STRING,
        type=STRING,
        lastTransitionTime=TIMESTAMP,
        message=STRING,
        reason=STRING,
    )
    spec = _object("kubernetes.NamespaceSpec", finalizers=list_of(STRING))
    status = _object("kubernetes.NamespaceStatus", conditions=list_of(condition), phase=STRING)
    return _object("kubernetes.Namespace", metadata=metadata, spec=spec, status=status)


def environment(
    *,
    params: bool,
    authorizer: bool = True,
    obj: Type = DYN,
    param: Type = DYN,
    variables: Mapping[str, Type] | None = None,
) -> Environment:
    """What expressions of a policy, or match conditions of a webhook, can refer to."""
    found = {"object": obj, "oldObject": obj, "namespaceObject": namespace_type(), "request": request_type()}
    if params:
        found["params"] = param
    if authorizer:
        found |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    if variables is not None:
        found["variables"] = _object("kubernetes.variables", **variables)
    return Environment(found)


def compiled(text: str, where: Environment, *wanted: str) -> tuple[Program | None, str]:
    """The program, or why there is none; `wanted` are the types that it may have (none: any)."""
    try:
        program = compile_expression(text, where)
    except CompileError as error:
        return None, f"compilation failed: {error}"
    name = str(program.type)
    if not wanted or program.type.name in wanted:
        return program, ""
    if len(wanted) == 1:
        return None, f"must evaluate to {wanted[0]} but got {name}"
    return None, f"must evaluate to one of [{' '.join(wanted)}] but got {name}"


def with_variables(
    spec: Obj, params: bool, obj: Type = DYN, param: Type = DYN
) -> tuple[Environment, dict[str, Program], dict[str, str]]:
    """The environment of a policy with its variables, each of which can refer to those before it.

    Programs and errors are by name.
    """
    types: dict[str, Type] = {}
    programs: dict[str, Program] = {}
    failures: dict[str, str] = {}
    given = spec.get("variables") or ()
    for one in given:
        name = one.get("name", "")
        program, error = compiled(
            one.get("expression", ""), environment(params=params, obj=obj, param=param, variables=types)
        )
        if program is None:
            failures[name] = error
        else:
            programs[name] = program
        types[name] = program.type if program is not None else DYN
    return environment(params=params, obj=obj, param=param, variables=types), programs, failures
