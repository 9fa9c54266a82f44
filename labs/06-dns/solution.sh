#!/bin/sh
# What a learner would type in lab 06.
set -e
server=$(kubectl exec client -- sed -n 's/^nameserver //p' /etc/resolv.conf)
names=$(kubectl exec client -- sed -n 's/^search //p' /etc/resolv.conf | wc -w)
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: web-pods, namespace: shop}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{port: 8080}]
YAML
kubectl create service externalname shop --external-name web.shop.svc.cluster.local
srv=$(kubectl exec client -- dig +short SRV _http._tcp.web.shop.svc.cluster.local | cut -d' ' -f3)
kubectl patch configmap answers -p \
  "{\"data\":{\"server\":\"$server\",\"short\":\"web.shop\",\"questions\":\"$((names + 1))\",\"srv\":\"$srv\"}}"
