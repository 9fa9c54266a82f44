#!/bin/sh
# What a learner would type in lab 07.
set -e
node1=$(kubectl get node node1 -o 'jsonpath={.status.addresses[0].address}')
node2=$(kubectl get node node2 -o 'jsonpath={.status.addresses[0].address}')
seen=
until [ -n "$seen" ]; do
  seen=$(klab exec client -- timeout 3 busybox wget -qO- "http://$node1:30080/clientip" || true)
done
klab exec node1 -- iptables -t nat -S KUBE-POSTROUTING
kubectl patch service web -p '{"spec":{"externalTrafficPolicy":"Local"}}'
sleep 1
klab exec client -- timeout 3 busybox wget -qO- "http://$node2:30080/clientip" || true
klab exec client -- timeout 3 busybox wget -qO- "http://$node1:30080/clientip" || echo "silence"
kubectl patch configmap answers -p "{\"data\":{\"through_node1\":\"${seen%:*}\",\"chain\":\"KUBE-POSTROUTING\",
  \"without\":\"silence\",\"outgoing\":\"$node1\"}}"
