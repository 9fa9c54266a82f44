"""What lies below a container's private layer: small directories on the lab's tmpfs, made once, and mounts on them.

A view is a skeleton (links into /usr, a generated /etc) that becomes the overlay's lower directory; the machine's /usr
is mounted over it, read-only. So every directory of the root belongs to the container's root, who may write there,
and nothing of the user's home, /var or /root shows.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from netlab.runtime.images.catalog import AGNHOST_TOOLS
from netlab.sandbox.paths import bundled_program
from netlab.sandbox.spec import MountSpec

VIEWS = Path("/run/netlab/views")
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
DIRECTORIES = ("dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr", "var", "var/lib")
MORE = ("var/cache", "var/log", "var/spool", "var/tmp", "var/www", "media", "etc/network", "run/lock")

# Of the machine's /etc: what programs and the loader need. Everything else would tell about the machine.
ETC = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "services", "protocols", "ethertypes", "rpc"),
    *("netconfig", "ssl/openssl.cnf", "ssl/certs/ca-certificates.crt", "pki/tls/certs", "ca-certificates.conf"),
    *("host.conf", "gai.conf", "localtime", "timezone", "mime.types", "os-release", "debian_version", "inputrc"),
    *("bash.bashrc", "profile", "iproute2", "terminfo", "python3", "vim", "wgetrc", "perl", "crypto-policies", "magic"),
)

PASSWD = """root:x:0:0:root:/root:{shell}
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nmail:x:8:\nwww-data:x:33:\nnogroup:x:65534:\n"
NSSWITCH = (
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\nrpc: files\n"
)

NGINX_CONF = """user root;
worker_processes 1;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for"';
    access_log /var/log/nginx/access.log main;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
"""
NGINX_SITE = """server {
    listen 80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
    error_page 500 502 503 504 /50x.html;
    location = /50x.html { root /usr/share/nginx/html; }
}
"""
NGINX_PAGE = """<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is this machine's nginx, in a pod.</p>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class View:
    """lower: directories, top one first. mounts: made before the container's own."""

    lower: tuple[str, ...]
    mounts: tuple[MountSpec, ...]


@cache
def view(name: str) -> View:
    """The view, made if this lab has not made it yet. Any number of processes may do so at once."""
    if name == "empty":
        return View((str(_once("empty", _empty)),), ())
    if name == "busybox":
        return View((str(_once("busybox", _busybox)),), _busybox_mounts())
    skeleton = str(_once("host", _host))
    if name == "nginx":
        return View((str(_once("nginx", _nginx)), skeleton), _nginx_mounts())
    return View((skeleton,), _system_mounts())


def _once(name: str, build: "object") -> Path:
    final = VIEWS / name
    if final.is_dir():
        return final
    VIEWS.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=VIEWS))
    place.chmod(0o755)
    build(place)  # type: ignore[operator]
    try:
        place.rename(final)
    except OSError:  # another process was quicker
        shutil.rmtree(place, ignore_errors=True)
    return final


def _write(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def _directories(root: Path) -> None:
    for name in (*DIRECTORIES, *MORE):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "var/run").symlink_to("../run")


def _accounts(root: Path, shell: str) -> None:
    _write(root, "etc/passwd", PASSWD.format(shell=shell))
    _write(root, "etc/group", GROUP)
    _write(root, "etc/nsswitch.conf", NSSWITCH)
    _write(root, "etc/shadow", "root:*::0:::::\n", 0o600)
    for name in ("hosts", "hostname", "resolv.conf"):
        _write(root, f"etc/{name}", "")


def _empty(root: Path) -> None:
    """Below loaded images and root file systems of the user's own: only what every container has."""
    for name in ("dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    for name in ("hosts", "hostname", "resolv.conf"):
        _write(root, f"etc/{name}", "")


def _host(root: Path) -> None:
    _directories(root)
    for name in SYSTEM:
        source = Path("/") / name
        if source.is_symlink():
            (root / name).symlink_to(source.readlink())
        elif source.is_dir():
            (root / name).mkdir()
    _accounts(root, "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh")
    for name in ETC:
        _copy_etc(Path("/etc") / name, root / "etc" / name)
    _busybox_tools(root)
    _own_programs(root)


def _copy_etc(source: Path, target: Path) -> None:
    if target.exists() or target.is_symlink():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            _copy_tree(str(source), str(target))
        elif source.is_file():
            shutil.copyfile(source, target)
    except OSError:
        return  # not readable for this user: then not for the container either


def _copy_tree(source: str, target: str) -> None:
    """Links as they are, files by content. On the way to the first pod: shutil.copytree takes four times as long."""
    os.mkdir(target)  # noqa: PTH102
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)  # noqa: PTH115, PTH211
            elif entry.is_dir():
                _copy_tree(entry.path, place)
            elif entry.is_file():
                shutil.copyfile(entry.path, place)


def _busybox_tools(root: Path) -> None:
    """Every applet under /opt/busybox/bin, last on the PATH: what the machine lacks, BusyBox has."""
    program = busybox()
    directory = str(root / "opt/busybox/bin")
    Path(directory).mkdir(parents=True)
    if program is None:
        return
    for applet in applets(program):
        os.symlink(program, f"{directory}/{applet}")  # noqa: PTH211


def _own_programs(root: Path) -> None:
    """netlab's own programs as files, for those who run them from a shell: an interpreter and a copy of the package."""
    here = Path(__file__).resolve().parents[1] / "builtin"
    library = root / "opt/netlab/lib"
    package = library / "netlab/runtime/builtin"
    package.mkdir(parents=True)
    for part in (library / "netlab", library / "netlab/runtime"):
        (part / "__init__.py").write_text("")
    for source in here.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    (root / "opt/netlab/bin").mkdir(parents=True)
    for program, module in (
        ("agnhost", "agnhost"),
        ("pause", "pause"),
        ("http-echo", "httpecho"),
        ("httpd", "httpd"),
        ("loadgen", "loadgen"),
        ("etcd", "etcd"),
    ):
        _write(root, f"opt/netlab/bin/{program}", _started(module), 0o755)
        (root / program).symlink_to(f"opt/netlab/bin/{program}")
    _agnhost_tools(root)
    links = root / "root/.local/bin"  # the image python: not in /opt, where people mount their scripts
    links.mkdir(parents=True)
    for name in ("python", "python3"):
        (links / name).symlink_to(interpreter())


def _started(module: str) -> str:
    return (
        f"#!{interpreter()} -IS\nimport sys\nsys.path.insert(0, '/opt/netlab/lib')\n"
        f"from netlab.runtime.builtin.{module} import main\nsys.exit(main(*sys.argv[1:]))\n"
    )


def _agnhost_tools(root: Path) -> None:
    """What upstream's agnhost has and the machine perhaps has otherwise, first on that image's PATH.

    Its tests ask with OpenBSD's nc, and with a wget that tries once (GNU's tries twenty times, for minutes).
    """
    _write(root, f"{AGNHOST_TOOLS[1:]}/nc", _started("netcat"), 0o755)
    wget = shutil.which("wget", path="/usr/bin:/bin")
    if wget is not None and "busybox" not in os.path.realpath(wget):
        _write(root, f"{AGNHOST_TOOLS[1:]}/wget", f'#!/bin/sh\nexec {wget} --tries=1 "$@"\n', 0o755)


def interpreter() -> str:
    return os.path.realpath(sys.executable)


# -- BusyBox ----------------------------------------------------------------------------------------------------------


@cache
def busybox() -> str | None:
    found = shutil.which("busybox", path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")
    return os.path.realpath(found) if found else None


def applets(program: str) -> list[str]:
    import subprocess

    done = subprocess.run([program, "--list"], stdout=subprocess.PIPE, check=False, text=True)
    return [name for name in done.stdout.split() if "/" not in name]


def is_static(program: str) -> bool:
    """An ELF file without an interpreter (program header PT_INTERP)."""
    import struct

    with Path(program).open("rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return False
        offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, index * size)[0] != 3 for index in range(count))


def _busybox(root: Path) -> None:
    program = busybox()
    if program is None:
        raise FileNotFoundError("busybox is not installed")
    for name in (
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "root",
        "sys",
        "tmp",
        "usr/bin",
        "usr/sbin",
        "var/spool/mail",
        "var/www",
    ):
        (root / name).mkdir(parents=True)
    for name in ("lib", "lib64"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "usr/bin/env").symlink_to("../../bin/env")
    _accounts(root, "/bin/sh")
    binary = root / "bin/busybox"
    shutil.copyfile(program, binary)
    binary.chmod(0o755)
    for applet in applets(program):
        if applet != "busybox":
            os.link(binary, f"{root}/bin/{applet}")
    if not _wget_has_timeout(program):
        (root / "bin/wget").unlink(missing_ok=True)
        _write(root, "bin/wget", WGET, 0o755)


# The image people know has `wget -T SECONDS`, alias --timeout; Debian's BusyBox was built without (there -T crashes).
WGET = """#!/bin/sh
limit= left=$#
while [ "$left" -gt 0 ]; do
    word=$1; shift; left=$((left - 1))
    case $word in
        -T|--timeout) limit=$1; shift; left=$((left - 1)) ;;
        -T*) limit=${word#-T} ;;
        --timeout=*) limit=${word#*=} ;;
        *) set -- "$@" "$word" ;;
    esac
done
[ -n "$limit" ] || exec /bin/busybox wget "$@"
timeout "$limit" /bin/busybox wget "$@"
status=$?
case $status in 124|143) echo "wget: download timed out" >&2; exit 1 ;; esac
exit $status
"""


def _wget_has_timeout(program: str) -> bool:
    import subprocess

    usage = subprocess.run([program, "wget", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return b"-T SEC" in usage.stdout


def _busybox_mounts() -> tuple[MountSpec, ...]:
    program = busybox()
    if program is None or is_static(program):
        return ()
    return tuple(
        MountSpec("bind", f"/{name}", f"/{name}", read_only=True)
        for name in ("lib", "lib64", "usr/lib")
        if Path("/", name).is_dir()
    )


# -- mounts -----------------------------------------------------------------------------------------------------------


@cache
def _system_mounts() -> tuple[MountSpec, ...]:
    """/usr and, where they are not links into it, /bin, /lib, …; and the interpreter's home, should it be elsewhere."""
    mounts = [MountSpec("bind", "/usr", "/usr", read_only=True)]
    for name in SYSTEM:
        path = Path("/") / name
        if path.is_dir() and not path.is_symlink():
            mounts.append(MountSpec("bind", str(path), str(path), read_only=True))
    home = Path(interpreter()).parents[1]
    if not home.is_relative_to("/usr"):
        mounts.append(MountSpec("bind", str(home), str(home), read_only=True))
    return tuple(mounts)


def writable(mounts: tuple[MountSpec, ...], target: str) -> tuple[MountSpec, ...]:
    """The same mounts where `target`, which is not there, can be made: /usr becomes a private overlay if it must."""
    changed = []
    for mount in mounts:
        inside = mount.kind in ("bind", "overlay") and target.startswith(mount.target + "/")
        if inside and mount.read_only and not Path(target).exists():
            extra = target.removeprefix(mount.target)
            text = mount.text if mount.kind == "overlay" else ""
            changed.append(MountSpec("overlay", mount.target, mount.source, text=f"{text}\n{extra}".strip("\n")))
        elif inside and mount.kind == "overlay":
            extra = os.path.dirname(target.removeprefix(mount.target))  # noqa: PTH120 - a path of the container
            changed.append(
                MountSpec(
                    "overlay",
                    mount.target,
                    mount.source,
                    text=f"{mount.text}\n{extra}".strip("\n"),
                    options=mount.options,
                )
            )
        else:
            changed.append(mount)
    return tuple(changed)


def with_layers(mounts: tuple[MountSpec, ...], layers: tuple[str, ...]) -> tuple[MountSpec, ...]:
    """The same mounts over an image's own files: what it has below /usr is laid over the machine's."""
    changed = []
    for mount in mounts:
        own = [layer + mount.target for layer in layers if Path(layer + mount.target).is_dir()]
        if own and mount.kind == "bind":
            mount = MountSpec("overlay", mount.target, mount.source, options=own[0])
        changed.append(mount)
    return tuple(changed)


# -- nginx ------------------------------------------------------------------------------------------------------------


def _nginx(root: Path) -> None:
    """Laid over the host view: configuration, pages and logs where the official image has them."""
    _write(root, "etc/nginx/nginx.conf", NGINX_CONF)
    _write(root, "etc/nginx/conf.d/default.conf", NGINX_SITE)
    types = Path("/etc/nginx/mime.types")
    _write(root, "etc/nginx/mime.types", types.read_text() if types.is_file() else "types { text/html html htm; }\n")
    for name in ("fastcgi_params", "proxy_params", "scgi_params", "uwsgi_params"):
        source = Path("/etc/nginx") / name
        if source.is_file():
            _write(root, f"etc/nginx/{name}", source.read_text())
    for name in ("var/lib/nginx", "var/log/nginx", "var/cache/nginx", "usr"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/log/nginx/access.log").symlink_to("/dev/stdout")
    (root / "var/log/nginx/error.log").symlink_to("/dev/stderr")
    pages = VIEWS / ".nginx-usr"
    _write(pages, "share/nginx/html/index.html", NGINX_PAGE)
    bundled = bundled_program("nginx")
    if bundled is not None and not Path("/usr/sbin/nginx").exists():
        (pages / "sbin").mkdir(parents=True, exist_ok=True)
        shutil.copy(bundled, pages / "sbin" / "nginx")
    _write(pages, "share/nginx/html/50x.html", "<html><body><h1>An error occurred.</h1></body></html>\n")


def _nginx_mounts() -> tuple[MountSpec, ...]:
    pages = str(VIEWS / ".nginx-usr")
    return tuple(
        MountSpec("overlay", "/usr", "/usr", text="/share/nginx/html", options=pages)
        if mount.target == "/usr"
        else mount
        for mount in _system_mounts()
    )
