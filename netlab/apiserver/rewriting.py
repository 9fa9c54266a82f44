"""Links in what a proxied pod or Service says, led back through the proxy. PURE.

As apimachinery's pkg/util/proxy/transport.go: URLs of text/html, in the attributes that hold one, and Location headers
are put behind the proxy's own path, where they are absolute paths on the same host.
"""

import html
import posixpath
import re
from collections.abc import Callable, Collection
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES = {
    "a": ("href",), "applet": ("codebase",), "area": ("href",), "audio": ("src",), "base": ("href",),
    "blockquote": ("cite",), "body": ("background",), "button": ("formaction",), "command": ("icon",),
    "del": ("cite",), "embed": ("src",), "form": ("action",), "frame": ("longdesc", "src"), "head": ("profile",),
    "html": ("manifest",), "iframe": ("longdesc", "src"), "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"), "ins": ("cite",), "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",), "script": ("src",), "source": ("src",),
    "video": ("poster", "src"),
}  # fmt: skip
_TAG = re.compile(r"<!--.*?-->|<([A-Za-z][A-Za-z0-9]*)((?:\"[^\"]*\"|'[^']*'|[^'\">])*)>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([^\s=\"'/>]+)(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s\"'>]+)")


def rewrite_url(url: str, prefix: str, hosts: Collection[str]) -> str:
    """`url` behind `prefix`, if it is an absolute path on one of `hosts` or on none; else as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
        return url
    path = parts.path
    if not path.startswith(prefix):
        joined = posixpath.normpath(f"{prefix}/{path.lstrip('/')}")
        path = joined + "/" if path.endswith("/") else joined
    return urlunsplit(("", "", path, parts.query, parts.fragment))


def rewrite_html(text: str, change: Callable[[str], str]) -> str:
    """The same HTML with every URL changed; everything else to the letter."""

    def tag(found: re.Match[str]) -> str:
        wanted = _ATTRIBUTES.get((found[1] or "").lower())
        if wanted is None:
            return found[0]

        def attribute(one: re.Match[str]) -> str:
            if one[1].lower() not in wanted:
                return one[0]
            value = one[3][1:-1] if one[3][0] in "\"'" else one[3]
            changed = change(html.unescape(value))
            return f'{one[1]}="{html.escape(changed)}"' if changed != html.unescape(value) else one[0]

        return f"<{found[1]}{_ATTRIBUTE.sub(attribute, found[2])}>"

    return _TAG.sub(tag, text)
