"""What this kernel can do, as an ordinary user, as root of a sandbox, and what is said where it cannot."""

from __future__ import annotations

import pytest

from netlab.kernel import features
from netlab.kernel.errors import UnsupportedFeature


def test_every_feature_is_probed_and_a_missing_one_has_a_remedy():
    found = features.probe()
    assert set(found) == set(features.NAMES)
    for feature in found.values():
        assert feature.detail and feature.needed_for
        assert bool(feature.remedy) is not feature.available


def test_inside_a_sandbox_the_answers_are_the_same(sandbox):
    outside = {name: feature.available for name, feature in features.probe().items()}
    features.feature.cache_clear()
    features._may_unshare.cache_clear()
    assert {name: feature.available for name, feature in features.probe().items()} == outside


def test_what_the_data_plane_cannot_do_without_is_here():
    missing = [name for name in ("veth", "bridge", "vxlan", "conntrack") if not features.has(name)]
    assert not missing, features.feature(missing[0])


def test_a_missing_feature_is_refused_by_name_with_who_needs_it_and_what_helps(monkeypatch):
    absent = features.Feature("netem", False, "unknown", "links with delay", "use another kernel")
    monkeypatch.setattr(features, "feature", lambda name: absent)
    with pytest.raises(UnsupportedFeature) as problem:
        features.require("netem", "the link a - b")
    assert str(problem.value) == "the link a - b needs netem, which this kernel does not have; use another kernel"
