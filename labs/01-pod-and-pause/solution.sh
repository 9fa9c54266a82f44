#!/bin/sh
# What a learner would type in lab 01.
set -e
address=$(kubectl get pod two -o 'jsonpath={.status.podIP}')
kubectl patch configmap answers -p "{\"data\":{\"address\":\"$address\",\"holder\":\"pause\"}}"
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: clash}
spec:
  containers:
    - {name: first, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec, --http-port=80]}
    - {name: second, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec, --http-port=80]}
YAML
kubectl exec two -c web -- kill 1 || true # the container may end before the answer is there
