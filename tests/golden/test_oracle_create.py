"""Creates, answered as the real API server 1.33 answered them: code, reason, causes, message, defaulted object.

`oracle/apiserver-1.33.jsonl` is a selection of recorded answers (one of every kind of message, several valid objects of
every kind). `python -m tests.golden.oracle FILE -v` compares any such file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import oracle

CASES = oracle.load(Path(__file__).parent / "oracle" / "apiserver-1.33.jsonl")
KINDS = sorted({case["path"].rpartition("/")[2] for case in CASES})


@pytest.mark.parametrize("kind", KINDS)
def test_a_post_is_answered_as_upstream_answers_it(kind: str) -> None:
    existing = oracle.namespaces_of(CASES)
    wrong = {}
    for case in CASES:
        if case["path"].rpartition("/")[2] == kind:
            found = oracle.differences(case, existing if kind == "namespaces" else frozenset())
            if found:
                wrong[f"{case['id']} {case['how']}"] = found
    assert not wrong


def test_the_selection_covers_every_kind_of_answer() -> None:
    assert {case["want"]["code"] for case in CASES} == {201, 400, 422}
    assert len(KINDS) >= 30
