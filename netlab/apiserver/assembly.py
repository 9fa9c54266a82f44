"""Puts the parts of one API server together; the only place that knows them all."""

from netlab.api.resources import BUILTIN, get
from netlab.apiserver.admission import Admission
from netlab.apiserver.admission.plugins import PLUGINS
from netlab.apiserver.aggregation.keeper import distrust
from netlab.apiserver.aggregation.keeper import follow as follow_services
from netlab.apiserver.allocation import Allocation
from netlab.apiserver.allocation.ranges import follow_ranges
from netlab.apiserver.api import Api
from netlab.apiserver.audit import open_auditor
from netlab.apiserver.authn import Authenticator
from netlab.apiserver.authn.tokens import ServiceAccountTokens
from netlab.apiserver.authz import Authorizer
from netlab.apiserver.authz.authorizer import AlwaysAllow, Mode
from netlab.apiserver.authz.node import NodeAuthorizer
from netlab.apiserver.authz.node_graph import NodeGraph
from netlab.apiserver.authz.rbac import GROUP as RBAC
from netlab.apiserver.authz.rbac import Rbac
from netlab.apiserver.bootstrap import bootstrap
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.extensions.controller import follow
from netlab.apiserver.listing import ListCache
from netlab.apiserver.pki import Pki, ensure_pki
from netlab.apiserver.storage import Storage, load
from netlab.apiserver.watching import Hubs
from netlab.store import Store
from netlab.store.sqlite import open_sqlite


def issuer(config: ApiServerConfig) -> str:
    """Who signs service account tokens, as kubeadm names it."""
    return f"https://kubernetes.default.svc.{config.dns_domain}"


def server_pki(config: ApiServerConfig) -> Pki:
    """The PKI with every name and address under which this server is reached."""
    allocation = Allocation(config.service_cidr, config.node_port_range)
    names = [config.advertise_address, *(one.first for one in allocation.ranges.values())]
    names += [f"kubernetes.default.svc.{config.dns_domain}", *config.server_names]
    names += [host for host, _ in config.listen if host not in ("0.0.0.0", "::", "")]
    return ensure_pki(config.pki_dir, names)


async def assemble(config: ApiServerConfig, pki: Pki, store: Store | None = None) -> Api:
    """An Api whose system objects are in place. The caller closes `api.store`."""
    store = store or open_sqlite(config.store_path)
    tokens = ServiceAccountTokens(pki.sa_key, pki.sa_pub, issuer(config))
    api = Api(
        config=config,
        store=store,
        pki=pki,
        storage=Storage(BUILTIN),
        hubs=Hubs(store),
        lists=ListCache(store),
        admission=Admission(PLUGINS),
        allocation=Allocation(config.service_cidr, config.node_port_range),
        authenticator=Authenticator(
            tokens, config.static_tokens, authority=pki.ca.cert, anonymous=config.anonymous, file=config.token_file
        ),
        authorizer=Authorizer(AlwaysAllow()),
        auditor=open_auditor(config.audit_policy, config.audit_log),
    )
    api.authorizer = Authorizer(*_modes(api))
    services = api.stored(get("v1", "Service"))
    api.allocation.repair(load(item, services) for item in store.list(services.collection).items)
    follow(api)
    await bootstrap(api)
    follow_ranges(api)
    api.dynamic.follow(api)
    follow_services(api)
    await distrust(api)
    return api


def _modes(api: Api) -> list[Mode]:
    if api.config.authorization == "AlwaysAllow":
        return [AlwaysAllow()]
    rbac = Rbac(api)
    for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        api.store.subscribe(api.stored(get(RBAC, kind)).collection, rbac.forget)
    homes = {found.collection: found for found in map(api.stored, (get(*kind) for kind in _GRAPH_KINDS))}
    return [NodeAuthorizer(NodeGraph(api.store, lambda collection, item: load(item, homes[collection]))), rbac]


_GRAPH_KINDS = (("v1", "Pod"), ("v1", "PersistentVolume"), ("storage.k8s.io/v1", "VolumeAttachment"))
