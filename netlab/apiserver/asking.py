"""Asking a client for its certificate without judging it: who has a bad one gets a 401, as upstream's, not an alert.

Go's `tls.RequestClientCert` has no counterpart in Python's `ssl`, which knows no certificate or one that OpenSSL has
verified. OpenSSL itself has: a verification callback that lets everything pass. It is set through the pointer that a
context holds as its first member (CPython's `PySSLContext`, unchanged since 3.6), after a look whether that is what is
there. Where it is not (a static OpenSSL, another Python), certificates are judged in the handshake as before.

What passes here is verified by `authn.certificates` before anybody is believed.
"""

import ctypes
import ssl
from functools import lru_cache

_VERIFY_PEER = 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


_let_pass = _Callback(lambda verified, store: 1)


def ask_only(context: ssl.SSLContext) -> bool:
    """Let the context (CERT_OPTIONAL) take any client certificate; False where that cannot be had."""
    library = _library()
    if library is None or type(context) is not ssl.SSLContext or context.verify_mode != ssl.CERT_OPTIONAL:
        return False
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not pointer or library.SSL_CTX_get_verify_mode(pointer) != _VERIFY_PEER:
        return False
    library.SSL_CTX_set_verify(pointer, _VERIFY_PEER, _let_pass)
    return True


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The very OpenSSL that Python's `ssl` uses."""
    import _ssl

    try:
        library = ctypes.CDLL(_ssl.__file__)
        library.SSL_CTX_get_verify_mode.argtypes = [ctypes.c_void_p]
        library.SSL_CTX_set_verify.argtypes = [ctypes.c_void_p, ctypes.c_int, _Callback]
        library.SSL_CTX_set_verify.restype = None
    except (AttributeError, OSError):
        return None
    return library
