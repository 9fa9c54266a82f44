"""Deployments: roll ReplicaSets (upstream pkg/controller/deployment). `plan` decides, `controller` writes."""
