#!/bin/sh
# Mends everything that lab 08 can break, whatever it was.
set -e
kubectl apply -f "$(dirname "$0")/manifests/shop.yaml"
kubectl patch service web -p '{"spec":{"selector":{"app":"web"}}}'
pods_of=$(kubectl get node node2 -o 'jsonpath={.spec.podCIDR}')
klab exec node2 -- iptables -D FORWARD -d "$pods_of" -p tcp -j DROP || true
for veth in $(klab exec node2 -- ip -o link | sed -n 's/^[0-9]*: \(veth[^@:]*\).*/\1/p'); do
  klab exec node2 -- ip link set "$veth" master docker0
done
klab exec node2 -- ip neigh flush dev docker0 nud permanent
kubectl patch service kube-dns -n kube-system --type=merge -p '{"spec":{"selector":{"k8s-app":"kube-dns"},"ports":[
  {"name":"dns","port":53,"protocol":"UDP","targetPort":53},
  {"name":"dns-tcp","port":53,"protocol":"TCP","targetPort":53}]}}'
kubectl scale deployment coredns -n kube-system --replicas=2
kubectl rollout status deployment web --timeout=90s
kubectl rollout status deployment coredns -n kube-system --timeout=90s
kubectl patch configmap answers -p '{"data":{"faults":"3"}}'
