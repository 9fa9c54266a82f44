"""The cluster's certificates and keys, as kubeadm lays them out, on EC P-256.

`ensure_pki` is idempotent: it reads what is there and makes what is missing (or what no longer names the server).
Files in the directory: ca.crt/.key, apiserver.crt/.key, apiserver-kubelet-client.crt/.key, front-proxy-ca.crt/.key,
front-proxy-client.crt/.key, sa.key/.pub; certificates made by `ensure_client` and `ensure_server` beside them.
A file is written under another name and renamed, key before certificate, so an interrupted start leaves no half pair.
"""

import base64
import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netlab.api.types import Obj

ADMIN: tuple[str, tuple[str, ...]] = ("kubernetes-admin", ("kubeadm:cluster-admins", "system:masters"))
CONTROLLER_MANAGER: tuple[str, tuple[str, ...]] = ("system:kube-controller-manager", ())
SCHEDULER: tuple[str, tuple[str, ...]] = ("system:kube-scheduler", ())
KUBELET_CLIENT: tuple[str, tuple[str, ...]] = ("kube-apiserver-kubelet-client", ("system:masters",))
SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
)
_YEAR = datetime.timedelta(days=365)


@dataclass(frozen=True)
class KeyPair:
    """PEM encoded."""

    cert: bytes
    key: bytes


@dataclass(frozen=True)
class Pki:
    directory: Path
    ca: KeyPair
    apiserver: KeyPair
    kubelet_client: KeyPair
    front_proxy_ca: KeyPair
    front_proxy_client: KeyPair
    sa_key: bytes
    sa_pub: bytes


def ensure_pki(directory: Path, sans: Sequence[str] = ()) -> Pki:
    """The whole PKI; `sans` are names or IPs of the API server besides the usual ones."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = _ensure_ca(directory, "ca", "kubernetes")
    front_ca = _ensure_ca(directory, "front-proxy-ca", "front-proxy-ca")
    names = list(dict.fromkeys([*SERVER_NAMES, *sans]))
    server = _ensure_signed(directory, "apiserver", ca, "kube-apiserver", (), names)
    kubelet = _ensure_signed(directory, "apiserver-kubelet-client", ca, *KUBELET_CLIENT, None)
    front = _ensure_signed(directory, "front-proxy-client", front_ca, "front-proxy-client", (), None)
    sa_key, sa_pub = _ensure_sa(directory)
    return Pki(directory, ca, server, kubelet, front_ca, front, sa_key, sa_pub)


def node_identity(node: str) -> tuple[str, tuple[str, ...]]:
    """User and groups of a node's kubelet."""
    return f"system:node:{node}", ("system:nodes",)


def client_cert(pki: Pki, user: str, groups: Sequence[str] = ()) -> KeyPair:
    """A fresh client certificate (CN = user, O = groups), signed by the cluster's CA, valid for a year."""
    return _sign(pki.ca, user, groups, None)


def server_cert(pki: Pki, common_name: str, sans: Sequence[str]) -> KeyPair:
    """A fresh serving certificate, as a kubelet presents on its port."""
    return _sign(pki.ca, common_name, (), sans)


def ensure_client(pki: Pki, name: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
    """As `client_cert`, kept as <name>.crt and <name>.key in the PKI's directory."""
    return _ensure_signed(pki.directory, name, pki.ca, user, groups, None)


def ensure_server(pki: Pki, name: str, common_name: str, sans: Sequence[str]) -> KeyPair:
    """As `server_cert`, kept as <name>.crt and <name>.key; made anew when `sans` are not covered."""
    return _ensure_signed(pki.directory, name, pki.ca, common_name, (), sans)


def kubeconfig(
    server: str, ca: bytes, pair: KeyPair, *, cluster: str = "netlab", user: str = "admin", namespace: str = ""
) -> Obj:
    """A kubeconfig object with everything embedded; `server` is the URL."""
    context: Obj = {"cluster": cluster, "user": user}
    if namespace:
        context["namespace"] = namespace
    credentials = {"client-certificate-data": _b64(pair.cert), "client-key-data": _b64(pair.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": _b64(ca)}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": f"{user}@{cluster}", "context": context}],
        "current-context": f"{user}@{cluster}",
        "preferences": {},
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _ensure_ca(directory: Path, name: str, common_name: str) -> KeyPair:
    found = _read_pair(directory, name)
    if found is not None:
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = _key_usage(signs=True)
    builder = _builder(subject, subject, key.public_key(), days=3650)
    cert = (
        builder.add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _write_pair(directory, name, KeyPair(cert.public_bytes(serialization.Encoding.PEM), _key_pem(key)))


def _ensure_sa(directory: Path) -> tuple[bytes, bytes]:
    key_path, pub_path = directory / "sa.key", directory / "sa.pub"
    if key_path.exists() and pub_path.exists():
        return key_path.read_bytes(), pub_path.read_bytes()
    key = ec.generate_private_key(ec.SECP256R1())
    private = _key_pem(key)
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(encoding, form)
    _write(key_path, private, 0o600)
    _write(pub_path, public, 0o644)
    return private, public


def _ensure_signed(
    directory: Path, name: str, ca: KeyPair, common_name: str, groups: Sequence[str], sans: Sequence[str] | None
) -> KeyPair:
    found = _read_pair(directory, name)
    if found is not None and _still_good(found, ca, sans):
        return found
    return _write_pair(directory, name, _sign(ca, common_name, groups, sans))


def _still_good(pair: KeyPair, ca: KeyPair, sans: Sequence[str] | None) -> bool:
    """Signed by this CA, good for another month, and naming every one of `sans`."""
    cert = x509.load_pem_x509_certificate(pair.cert)
    try:
        cert.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.cert))
    except (InvalidSignature, ValueError):
        return False
    if cert.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=30):
        return False
    if sans is None:
        return True
    covered = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(_general_name(name) in covered for name in sans)


def _sign(ca: KeyPair, common_name: str, groups: Sequence[str], sans: Sequence[str] | None) -> KeyPair:
    ca_cert = x509.load_pem_x509_certificate(ca.cert)
    ca_key = serialization.load_pem_private_key(ca.key, None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key of the certificate authority is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if sans is None else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        _builder(subject, ca_cert.subject, key.public_key(), days=365)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if sans is not None:
        names = x509.SubjectAlternativeName([_general_name(name) for name in sans])
        builder = builder.add_extension(names, critical=False)
    cert = builder.sign(ca_key, hashes.SHA256())
    return KeyPair(cert.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # clocks of guests lag; kubeadm allows five minutes too
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_pair(directory: Path, name: str) -> KeyPair | None:
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    if not cert.exists() or not key.exists():
        return None
    return KeyPair(cert.read_bytes(), key.read_bytes())


def _write_pair(directory: Path, name: str, pair: KeyPair) -> KeyPair:
    (directory / f"{name}.crt").unlink(missing_ok=True)
    _write(directory / f"{name}.key", pair.key, 0o600)
    _write(directory / f"{name}.crt", pair.cert, 0o644)
    return pair


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode)
    temporary.write_bytes(content)
    temporary.replace(path)
