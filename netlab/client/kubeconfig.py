"""Kubeconfig files to what a transport needs."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from pathlib import Path

from netlab.api.types import Obj


def load(source: Path | str | Obj, context: str | None = None) -> tuple[str, ssl.SSLContext | None, str | None]:
    """(server URL, TLS context with the client certificate, bearer token) of the current or the named context.

    Raises ValueError that names the file and the missing entry.
    """
    base, config = _read(source)
    where = str(source) if base is not None else "kubeconfig"
    name = context or config.get("current-context") or ""
    chosen = _entry(config, "contexts", name, "context", where)
    cluster = _entry(config, "clusters", str(chosen.get("cluster", "")), "cluster", where)
    user = _entry(config, "users", str(chosen.get("user", "")), "user", where) if chosen.get("user") else {}
    server = cluster.get("server")
    if not server:
        raise ValueError(f"{where}: cluster {chosen.get('cluster')!r} has no server")
    token = user.get("token")
    if token is None and user.get("tokenFile"):
        token = _resolve(base, str(user["tokenFile"])).read_text().strip()
    return str(server), _tls(base, cluster, user) if server.startswith("https:") else None, token


def _read(source: Path | str | Obj) -> tuple[Path | None, Obj]:
    if isinstance(source, dict):
        return None, source
    path = Path(source)
    text = path.read_text()
    config: object
    if text.lstrip().startswith("{"):
        import orjson

        config = orjson.loads(text)
    else:
        import yaml

        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not a kubeconfig")
    return path.parent, config


def _entry(config: Obj, section: str, name: str, key: str, where: str) -> Obj:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: Obj = entry.get(key) or {}
            return found
    raise ValueError(f"{where}: no entry {name!r} in {section}")


def _resolve(base: Path | None, path: str) -> Path:
    return (base or Path()) / path


def _pem(base: Path | None, entry: Obj, key: str) -> str | None:
    """The PEM text under `<key>-data` (base64) or in the file that `<key>` names."""
    if entry.get(f"{key}-data"):
        return base64.b64decode(entry[f"{key}-data"]).decode()
    if entry.get(key):
        return _resolve(base, str(entry[key])).read_text()
    return None


def _tls(base: Path | None, cluster: Obj, user: Obj) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        authority = _pem(base, cluster, "certificate-authority")
        if authority:
            context.load_verify_locations(cadata=authority)
        else:
            context.load_default_certs()
    certificate, key = _pem(base, user, "client-certificate"), _pem(base, user, "client-key")
    if certificate and key:
        _load_cert_chain(context, certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_cert_chain(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """The ssl module reads certificates from files only: a memory file keeps the key off the disk."""
    try:
        fd = os.memfd_create("client-cert", os.MFD_CLOEXEC)
    except OSError:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{certificate}\n{key}\n")
            file.flush()
            context.load_cert_chain(file.name)
        return
    try:
        os.write(fd, f"{certificate}\n{key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
