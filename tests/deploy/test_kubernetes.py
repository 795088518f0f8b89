"""The manifests: every resource by the schemas of Kubernetes, and what belongs together."""

from __future__ import annotations

import copy
import importlib
import tomllib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml

from isslim.settings.environment import GROUPS, variable_of
from tests.deploy.programs import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.37")
"""Of Kubernetes: the oldest and the newest that the manifests are for."""
KINDS = ["base", "single"]


@pytest.fixture(scope="module")
def validation() -> ModuleType:
    """The validator, imported where it is used: its grammars take seconds to load."""
    return importlib.import_module("kubernetes_validate")


def resources(kind: str) -> list[dict[str, Any]]:
    """All resources that a kustomization names."""
    content = yaml.safe_load((FOLDER / kind / "kustomization.yaml").read_text())
    return [
        each
        for name in content["resources"]
        for each in yaml.safe_load_all((FOLDER / kind / name).read_text())
    ]


def pods(kind: str) -> Iterator[dict[str, Any]]:
    """The specifications of all pods."""
    for each in resources(kind):
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]


def containers(kind: str) -> Iterator[dict[str, Any]]:
    for pod in pods(kind):
        yield from pod["containers"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_has_the_form_that_kubernetes_wants(
    kind: str, version: str, validation: ModuleType
) -> None:
    found = resources(kind)
    for each in found:
        validation.validate(each, version, strict=True)
    assert len(found) >= 3


def test_field_that_is_misspelt_or_of_another_type_is_found(validation: ModuleType) -> None:
    (deployment,) = [each for each in resources("single") if each["kind"] == "Deployment"]
    for field, value in (("enableServiceLink", False), ("terminationGracePeriodSeconds", "long")):
        broken = copy.deepcopy(deployment)
        broken["spec"]["template"]["spec"][field] = value
        with pytest.raises(validation.ValidationError):
            validation.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_kustomization_names_every_file_and_the_release(kind: str) -> None:
    content = yaml.safe_load((FOLDER / kind / "kustomization.yaml").read_text())
    there = {path.name for path in (FOLDER / kind).iterdir()} - {"kustomization.yaml"}
    assert set(content["resources"]) == there
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {each["newTag"] for each in content["images"]} == {version}
    named = {each["name"] for each in content["images"]}
    assert {each["image"] for each in containers(kind)} == named
    labels = content["labels"][0]["pairs"]
    assert labels["app.kubernetes.io/version"] == version


@pytest.mark.parametrize("kind", KINDS)
def test_containers_have_probes_limits_and_no_rights(kind: str) -> None:
    for pod in pods(kind):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in containers(kind):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert each["livenessProbe"]
        assert each["resources"]["limits"]["memory"]
        if each["name"] == "service":
            assert each["readinessProbe"]["httpGet"]["path"] == "/health/ready"
            assert each["startupProbe"]["httpGet"]["path"] == "/health/live"


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_settings_and_labels_are_those_that_are_there(kind: str) -> None:
    known = {variable_of(field) for group in GROUPS for field in group.model_fields}
    for pod in pods(kind):
        volumes = {each["name"] for each in pod["volumes"]}
        mounted = {each["name"] for c in pod["containers"] for each in c["volumeMounts"]}
        assert mounted == volumes
        # A secret's content is nowhere in the manifests, only its name.
        variables = {each["name"] for c in pod["containers"] for each in c.get("env", [])}
        assert variables <= known
    found = resources(kind)
    assert not [each for each in found if each["kind"] == "Secret"]
    for each in found:
        if each["kind"] == "ConfigMap":
            assert set(each["data"]) <= known
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in found
        if each["kind"] == "Deployment"
    ]
    for each in found:
        if each["kind"] == "Service":
            assert each["spec"]["selector"] in labels


def test_autoscaler_follows_a_metric_that_the_service_has() -> None:
    from isslim.service.metrics import Metrics

    (scaler,) = [each for each in resources("base") if each["kind"] == "HorizontalPodAutoscaler"]
    (metric,) = scaler["spec"]["metrics"]
    names = {each.name for each in Metrics().registry.collect()}
    assert metric["pods"]["metric"]["name"] in names
    target = scaler["spec"]["scaleTargetRef"]["name"]
    (service,) = [
        each
        for each in resources("base")
        if each["metadata"]["name"] == target and each["kind"] == "Deployment"
    ]
    assert "replicas" not in service["spec"]  # which would undo what the autoscaler chose


def test_network_is_closed_but_for_what_is_named() -> None:
    policies = [each for each in resources("base") if each["kind"] == "NetworkPolicy"]
    (default,) = [each for each in policies if each["spec"]["podSelector"] == {}]
    assert set(default["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in default["spec"]
    assert all(rule["ports"] for rule in default["spec"]["egress"])
