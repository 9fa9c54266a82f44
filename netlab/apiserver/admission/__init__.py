"""Gatekeeping of content: what the cluster adds to an object, and what it refuses although the object is valid.

Order and meaning follow upstream's default plug-ins (kubeapiserver/options/plugins.go). A plug-in is a pair of plain
functions of `Attributes` and a reader of the stored state; they run in the order of `PLUGINS`, all mutating ones before
validation, all validating ones after it.
"""

from netlab.apiserver.admission.attributes import Admission, Attributes, Operation, Plugin, Reader

__all__ = ["Admission", "Attributes", "Operation", "Plugin", "Reader"]
