"""Manifests: what counts as an object, in which order objects are applied, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from netlab.manifests import ManifestError, in_apply_order, load, parse

TEXT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
# nothing here
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Service, metadata: {name: web}}
  - {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
"""


def kinds(objects: list[dict[str, object]]) -> list[object]:
    return [obj["kind"] for obj in objects]


def test_lists_are_opened_and_empty_documents_passed_over() -> None:
    assert kinds(parse(TEXT)) == ["Deployment", "Service", "Namespace"]


def test_what_others_need_comes_first() -> None:
    assert kinds(in_apply_order(parse(TEXT))) == ["Namespace", "Service", "Deployment"]


def test_a_directory_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}")
    (tmp_path / "a.yml").write_text("{apiVersion: v1, kind: Service, metadata: {name: a}}")
    (tmp_path / "notes.txt").write_text("not: this")
    assert kinds(load(tmp_path)) == ["ConfigMap", "Service"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "m.yaml:2:1: not YAML"),
        ("just: text", "m.yaml: document 1: expected an object with apiVersion and kind"),
        ("apiVersion: v1\nkind: Pod\n---\n- 1", "m.yaml: document 2: expected an object"),
    ],
)
def test_a_wrong_manifest_names_the_place(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message.replace(".", r"\.")):
        parse(text, "m.yaml")


def test_an_empty_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no .*yaml"):
        load(tmp_path)
