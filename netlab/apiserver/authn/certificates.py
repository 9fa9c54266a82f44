"""User and groups from a verified client certificate: the common name and the organisations of its subject."""

from functools import lru_cache

from netlab.apiserver.wire.message import User

AUTHENTICATED = "system:authenticated"


@lru_cache(maxsize=4096)
def user_of(der: bytes) -> User | None:
    """`der` has been verified against the cluster's CA by TLS; None when it names nobody."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_der_x509_certificate(der).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    groups = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return User(str(names[0].value), (*groups, AUTHENTICATED))
