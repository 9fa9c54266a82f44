"""For development: `python -m netlab.apiserver --state DIR --port N`; prints the kubeconfig's path."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from netlab.apiserver.config import ApiServerConfig


def main() -> None:
    parser = argparse.ArgumentParser(prog="netlab.apiserver", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory of the store and the PKI")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6443)
    parser.add_argument("--authorization", choices=("RBAC", "AlwaysAllow"), default="RBAC")
    parser.add_argument("--header-seconds", type=float, default=ApiServerConfig.header_seconds)
    parser.add_argument("--request-seconds", type=float, default=ApiServerConfig.request_seconds)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, stream=sys.stderr)
    config = ApiServerConfig(
        state_dir=options.state,
        listen=((options.host, options.port),),
        advertise_address=options.host,
        advertise_port=options.port,
        authorization=options.authorization,
        header_seconds=options.header_seconds,
        request_seconds=options.request_seconds,
    )
    _run(config)


def _run(config: ApiServerConfig) -> None:
    import uvloop

    from netlab.apiserver.server import serve

    def ready() -> None:
        sys.stdout.write(f"{write_kubeconfig(config)}\n")
        sys.stdout.flush()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, ready=ready))


def write_kubeconfig(config: ApiServerConfig) -> Path:
    """The administrator's kubeconfig beside the state; JSON is YAML."""
    from netlab.apiserver.pki import ADMIN, ensure_client, ensure_pki, kubeconfig

    pki = ensure_pki(config.pki_dir)
    host, port = config.listen[0]
    content = kubeconfig(f"https://{host}:{port}", pki.ca.cert, ensure_client(pki, "admin", *ADMIN))
    path = config.state_dir / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2))
    return path


if __name__ == "__main__":
    main()
