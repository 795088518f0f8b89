"""Licences, bills of materials and the audit: each finds what it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply_chain import audit, sbom
from supply_chain.dependencies import PARTS, ROOT, Package, normal, packages_of, pinned
from supply_chain.licences import binding, page


def test_page_of_licences_is_what_is_installed() -> None:
    assert (ROOT / "docs" / "licences.md").read_text() == page()


def test_no_licence_binds_those_who_pass_isslim_on_without_a_reason() -> None:
    packages = [each for part in PARTS for each in packages_of(part)]
    assert binding(packages) == []
    assert [each.name for each in packages if not each.licence] == []


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "GNU Affero General Public License (AGPL)"])
def test_licence_that_binds_is_found(licence: str) -> None:
    free = Package("b", "1", "LGPL-3.0-only"), Package("c", "1", "MIT OR GPL-2.0-only")
    assert binding([Package("a", "1", licence), *free]) == ["a"]


def test_what_an_extra_brings_is_followed_and_pinned() -> None:
    service, worker = (
        {each.name.lower() for each in packages_of(p)} for p in ("service", "worker")
    )
    assert {"fastapi", "starlette", "onnxruntime", "dbos"} <= service
    assert "torch" not in service
    assert {"torch", "sympy", "dbos", "prometheus_client"} <= worker
    assert not worker & {"fastapi", "pytest"}
    versions = pinned()
    assert all(versions[normal(each.name)] == each.version for each in packages_of("service"))


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_bill_of_materials_is_valid_and_whole(image: str, tmp_path: Path) -> None:
    sbom.main(tmp_path)
    text = (tmp_path / f"{image}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    content = json.loads(text)
    listed = {(each["name"], each["version"]) for each in content["components"]}
    assert listed == {(normal(each.name), each.version) for each in packages_of(image)}
    assert content["metadata"]["component"]["name"] == f"isslim-{image}"


def package(name: str, *vulnerabilities: str) -> dict[str, Any]:
    found = [{"id": each, "fix_versions": ["2"], "aliases": []} for each in vulnerabilities]
    return {"name": name, "version": "1", "vulns": found}


def test_audit_is_clean_only_where_everything_is_known_or_explained() -> None:
    clean = {"dependencies": [package(f"p{n}") for n in range(20)]}
    assert audit.judged(clean, {}) == (audit.CLEAN, [])
    weak = {"dependencies": [*clean["dependencies"], package("weak", "PYSEC-1")]}
    status, (line,) = audit.judged(weak, {})
    assert (status, line) == (audit.FOUND, "weak 1: PYSEC-1, mended in 2")
    assert audit.judged(weak, {"PYSEC-1": "why"}) == (audit.CLEAN, [])
    status, (line,) = audit.judged(clean, {"PYSEC-1": "why"})
    assert (status, line) == (audit.FOUND, "PYSEC-1 is explained and was not found: remove it")


def test_service_that_knows_nothing_is_no_clean_audit() -> None:
    unknown = [{"name": f"p{n}", "skip_reason": "not found on PyPI"} for n in range(20)]
    status, (line,) = audit.judged({"dependencies": unknown}, {})
    assert status == audit.NOT_LOOKED_AT
    assert "20 of 20 packages are not known" in line
    local = [*(package(f"p{n}") for n in range(30)), unknown[0]]
    assert audit.judged({"dependencies": local}, {}) == (
        audit.CLEAN,
        ["not known to the service: p0"],
    )
