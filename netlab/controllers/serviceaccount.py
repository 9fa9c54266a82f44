"""A ServiceAccount `default` and a ConfigMap `kube-root-ca.crt` in every namespace.

Upstream: pkg/controller/serviceaccount and pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from netlab.controllers.context import Context

ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def account(namespace: str) -> Obj:
    """PURE. The default ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


def root_ca(namespace: str, certificate: str) -> Obj:
    """PURE. The ConfigMap with the cluster's CA."""
    notes = {"kubernetes.io/description": DESCRIPTION}
    metadata = {"name": ROOT_CA, "namespace": namespace, "annotations": notes}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": certificate}}


class _PerNamespace:
    """Keeps one object in every namespace that is not being deleted."""

    name = ""

    def __init__(self, context: Context, objects: Informer) -> None:
        self.context, self.client, self.objects = context, context.client, objects
        self.namespaces = context.informer(NAMESPACES)
        self.queue = context.queue(self.name)
        self.namespaces.add_handler(self._enqueue, lambda old, new: self._enqueue(new))
        self.objects.add_handler(None, lambda old, new: self._object(new), self._object)

    def wanted(self, namespace: str) -> Obj:
        raise NotImplementedError

    def differs(self, have: Obj, wanted: Obj) -> bool:
        return False

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.namespaces, self.objects)
        await self.queue.run(self.reconcile, workers=4)

    async def reconcile(self, namespace: str) -> None:
        """Make the object exist and say what it should."""
        found = self.namespaces.store.get(namespace)
        if found is None or meta.get(found, "status", "phase") == "Terminating" or meta.deleting(found):
            return
        wanted = self.wanted(namespace)
        have = self.objects.store.get(meta.key(wanted))
        try:
            if have is None:
                self.objects.observe(await self.client.create(self.objects.resource, wanted))
            elif self.differs(have, wanted):
                patch = {"data": wanted["data"]}
                self.objects.observe(
                    await self.client.patch(
                        self.objects.resource, meta.name(wanted), patch, namespace, patch_type="merge"
                    )
                )
        except StatusError as error:
            terminating = any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)
            if error.reason != "AlreadyExists" and error.code != 404 and not terminating:
                raise

    def _enqueue(self, namespace: Obj) -> None:
        self.queue.add(meta.name(namespace))

    def _object(self, obj: Obj) -> None:
        if meta.name(obj) == meta.name(self.wanted(meta.namespace(obj))):
            self.queue.add(meta.namespace(obj))


class ServiceAccountController(_PerNamespace):
    """The default ServiceAccount."""

    name = "service-account-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.informer(SERVICE_ACCOUNTS))

    def wanted(self, namespace: str) -> Obj:
        return account(namespace)


class RootCaController(_PerNamespace):
    """The CA bundle that pods mount with their token."""

    name = "root-ca-certificate-publisher-controller"

    def __init__(self, context: Context) -> None:
        informer = Informer(
            context.client, CONFIG_MAPS, field_selector=f"metadata.name={ROOT_CA}", timing=context.timing
        )
        context.informers["v1", f"configmaps/{ROOT_CA}"] = informer
        super().__init__(context, informer)

    def wanted(self, namespace: str) -> Obj:
        return root_ca(namespace, self.context.config.root_ca)

    def differs(self, have: Obj, wanted: Obj) -> bool:
        return bool(have.get("data") != wanted["data"])
