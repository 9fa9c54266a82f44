#!/bin/sh
# What a learner would type in lab 02.
set -e
index=$(kubectl exec right -- cat /sys/class/net/eth0/iflink)
port=$(klab exec node1 -- ip -o link | sed -n "s/^$index: \([^@:]*\).*/\1/p")
gateway=$(klab exec node1 -- ip -4 -o addr show docker0 | sed 's/.*inet \([0-9.]*\).*/\1/')
address=$(kubectl get pod right -o 'jsonpath={.status.podIP}')
index=$(kubectl exec left -- cat /sys/class/net/eth0/iflink)
left=$(klab exec node1 -- ip -o link | sed -n "s/^$index: \([^@:]*\).*/\1/p")
klab exec node1 -- ip link set "$left" nomaster
kubectl exec left -- timeout 3 wget -qO- "http://$address/" || echo "no answer, as expected"
neighbour=$(kubectl exec left -- ip neigh show "$address" | sed 's/.* //')
klab exec node1 -- ip link set "$left" master docker0
# twice: a question asked while the cable was out may still fail ("No route to host"); the next packet asks anew
kubectl exec left -- timeout 9 wget -qO- "http://$address/hostname" ||
  kubectl exec left -- timeout 9 wget -qO- "http://$address/hostname"
kubectl patch configmap answers -p \
  "{\"data\":{\"port\":\"$port\",\"gateway\":\"$gateway\",\"neighbour\":\"$neighbour\"}}"
