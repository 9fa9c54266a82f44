"""User and groups from a client certificate: the common name and the organisations of its subject.

TLS takes whatever a client shows (`netlab.apiserver.asking`); here it is judged, as upstream's x509 authenticator does:
issued by the cluster's authority, valid now, meant for clients.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from netlab.apiserver.wire.message import User

AUTHENTICATED = "system:authenticated"


class _Known(NamedTuple):
    """Whom a certificate names, and between which times (seconds since the epoch) it is good."""

    user: User
    begins: float
    ends: float


def user_of(der: bytes, authority: bytes, now: float) -> User | None:
    """The user of a certificate (DER) of the authority (PEM); None when it is not good or names nobody."""
    known = _known(der, authority)
    return known.user if known is not None and known.begins <= now <= known.ends else None


@lru_cache(maxsize=4096)
def _known(der: bytes, authority: bytes) -> _Known | None:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        meant = ExtendedKeyUsageOID.CLIENT_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages
    except x509.ExtensionNotFound:
        meant = True
    except (ValueError, TypeError, InvalidSignature):
        return None
    subject = certificate.subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not meant:
        return None
    groups = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    user = User(str(names[0].value), (*groups, AUTHENTICATED))
    return _Known(user, _seconds(certificate.not_valid_before_utc), _seconds(certificate.not_valid_after_utc))


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()
