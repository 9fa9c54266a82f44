#!/bin/sh
# What a learner would type in lab 04.
set -e
kubectl expose deployment web --port=80 --target-port=8080
chain=
until [ -n "$chain" ]; do
  rules=$(klab exec node1 -- iptables-save -t nat)
  chain=$(echo "$rules" | sed -n 's/^-A KUBE-SERVICES .*default\/web.* -j \(KUBE-SVC-[A-Z0-9]*\)$/\1/p')
done
kubectl exec client -- sh -c 'for i in $(seq 40); do wget -qO- http://web/; done' | sort | uniq -c
klab exec node1 -- iptables -t nat -S "$chain"
kubectl patch configmap answers -p "{\"data\":{\"chain\":\"$chain\",\"probability\":\"0.5\"}}"
kubectl scale deployment web --replicas=5
kubectl rollout status deployment web --timeout=60s
pod=$(kubectl get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
kubectl exec "$pod" -- rm /www/index.html
kubectl wait "pod/$pod" --for=condition=Ready=false --timeout=60s
