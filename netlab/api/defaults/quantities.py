"""Resource lists as upstream keeps them: rounded up to thousandths."""

from __future__ import annotations

from fractions import Fraction

from netlab.api import quantity


def round_up(resources: dict[str, str] | None) -> None:
    """Round each quantity up to milli units, in place (`SetDefaults_ResourceList`)."""
    if not resources:
        return
    for name, value in resources.items():
        if value[-1:] in "un" or ("." in value) or ("e-" in value):
            exact = quantity.parse(value) * 1000
            if exact.denominator != 1:
                milli = -(-exact.numerator // exact.denominator)
                resources[name] = quantity.render(Fraction(milli, 1000), quantity.form_of(value))
