#!/bin/sh
# What a learner would type in lab 03.
set -e
there=$(kubectl get pod there -o 'jsonpath={.status.podIP}')
outer=$(kubectl get node node2 -o 'jsonpath={.status.addresses[0].address}')
vtep=$(klab exec node2 -- cat /sys/class/net/flannel.1/address)
klab exec node1 -- bridge fdb del "$vtep" dev flannel.1 dst "$outer"
kubectl exec here -- timeout 2 wget -qO- "http://$there/" || echo "no answer, as expected"
klab exec node1 -- bridge fdb replace "$vtep" dev flannel.1 dst "$outer" self permanent
kubectl exec here -- timeout 9 wget -qO- "http://$there/hostname"
kubectl patch configmap answers -p \
  "{\"data\":{\"vtep\":\"$vtep\",\"outer\":\"$outer\",\"overhead\":\"50\",\"source\":\"api\"}}"
kubectl apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: mtu}
spec:
  nodeSelector: {kubernetes.io/hostname: node1}
  restartPolicy: Never
  containers:
    - name: ping
      image: nicolaka/netshoot
      command: [sh, -c, "ping -M do -c 2 -W 1 -s 1422 $there; ping -M do -c 2 -W 1 -s 1423 $there; true"]
YAML
kubectl wait pod/mtu --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s
