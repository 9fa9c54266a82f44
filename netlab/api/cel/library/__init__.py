"""PURE. The functions that expressions can call: CEL's own (`standard`, `strings`, `optionals`) and Kubernetes'."""
