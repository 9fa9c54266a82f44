"""Who owns which field (metadata.managedFields), and what server-side apply makes of that (KEP-555).

`update` records what an ordinary write changed; `apply` merges a configuration into the live object, takes away what
its manager no longer wants, and refuses to touch what others own unless forced. Follows
sigs.k8s.io/structured-merge-diff v4 and apimachinery pkg/util/managedfields.

Pure: objects in, new objects out; times are arguments. Custom resources work where the caller passes their schema.
"""

from netlab.api.managedfields.managers import apply, same_but_times, update
from netlab.api.managedfields.sets import FieldSet, from_fields_v1, to_fields_v1

__all__ = ["FieldSet", "apply", "from_fields_v1", "same_but_times", "to_fields_v1", "update"]
