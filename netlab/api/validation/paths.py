"""Rules of file paths in volumes. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from netlab.api.validation.field import FieldError, invalid


def no_backsteps(path: str, field: str) -> list[FieldError]:
    """No `..` element."""
    return [invalid(field, path, "must not contain '..'")] if ".." in path.split("/") else []


def local_descending(path: str, field: str) -> list[FieldError]:
    """Relative, and no `..` element."""
    found = [invalid(field, path, "must be a relative path")] if path.startswith("/") else []
    return found + no_backsteps(path, field)


def local_not_reserved(path: str, field: str) -> list[FieldError]:
    """`ValidateLocalNonReservedPath`: also does not begin with `..` (the kubelet's own names)."""
    found = local_descending(path, field)
    if path.startswith("..") and not path.startswith("../"):
        found.append(invalid(field, path, "must not start with '..'"))
    return found
