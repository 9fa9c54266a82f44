"""The shape every API object has while netlab works on it: the JSON object itself."""

from typing import Any

Obj = dict[str, Any]
"""A Kubernetes API object (or a part of one) as decoded JSON."""
