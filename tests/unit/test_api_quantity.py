"""Quantities: exact values and canonical text."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlab.api import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000m", "1"),
        ("0.1Gi", "107374182400m"),
        ("12e6", "12e6"),
        ("1500e3", "1500e3"),
        ("100k", "100k"),
        ("1Ki", "1Ki"),
        ("512", "512"),
        ("1000Ki", "1000Ki"),
        ("0.1n", "1n"),
        ("0", "0"),
        ("0Mi", "0"),
        ("-1.5", "-1500m"),
        ("1E", "1E"),
        ("1000000", "1M"),
        (".5", "500m"),
        ("5.", "5"),
        (1, "1"),
        (0.25, "250m"),
    ],
)
def test_canonical(text: quantity.Quantity, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", quantity.BAD_FORM),
        ("abc", quantity.BAD_FORM),
        ("1 Gi", quantity.BAD_FORM),
        ("1Xi", quantity.BAD_FORM),
        ("1e", quantity.BAD_SUFFIX),
        ("1KM", quantity.BAD_SUFFIX),
        ("1.2.3", quantity.BAD_NUMBER),
    ],
)
def test_what_is_no_quantity(text: str, message: str) -> None:
    with pytest.raises(quantity.QuantityError) as error:
        quantity.parse(text)
    assert str(error.value) == message


def test_units_for_the_scheduler() -> None:
    assert quantity.milli("1.5") == 1500
    assert quantity.milli("100u") == 1
    assert quantity.whole("1Gi") == 2**30


@given(st.integers(-(10**18), 10**18), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "e3"]))
def test_canonical_text_keeps_the_value_and_is_stable(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    canonical = quantity.canonical(text)
    assert quantity.parse(canonical) == quantity.parse(text)
    assert quantity.canonical(canonical) == canonical


def test_sums_are_exact() -> None:
    total = sum((quantity.parse("100m") for _ in range(10)), Fraction())
    assert quantity.render(total) == "1"
