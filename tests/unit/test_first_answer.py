"""The question that a lab asks its DNS before it calls itself ready."""

import dns.flags
import dns.message
import dns.rcode
import pytest

from netlab.lab.firstanswer import says_no_error
from netlab.trace.dnsquery import question

NAME = "kubernetes.default.svc.cluster.local"


def test_the_question_is_what_a_resolver_asks() -> None:
    wanted = dns.message.make_query(NAME, "A", id=1)
    assert question(NAME, 1) == wanted.to_wire()


@pytest.mark.parametrize(
    ("code", "fine"), [(dns.rcode.NOERROR, True), (dns.rcode.NXDOMAIN, False), (dns.rcode.SERVFAIL, False)]
)
def test_only_an_answer_without_an_error_will_do(code: dns.rcode.Rcode, fine: bool) -> None:
    response = dns.message.make_response(dns.message.make_query(NAME, "A"))
    response.set_rcode(code)
    assert says_no_error(response.to_wire()) is fine
    assert not says_no_error(question(NAME, 1))
    assert not says_no_error(b"")
