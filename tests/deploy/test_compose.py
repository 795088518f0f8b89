"""`docker-compose.yml`: valid, closed, and only what its example of an environment names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.cluster.object_storage import BUCKET, ObjectStorage
from isslim.demo.ports import free_port
from isslim.settings.environment import GROUPS, variable_of
from tests.deploy.programs import ROOT, program
from tests.service.served import served

FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
PROFILES = ("gpu", "monitoring", "cluster")
OURS = ("service", "worker", "service-gpu", "worker-gpu")


def configured(*arguments: str, **variables: str) -> dict[str, Any]:
    """What docker-compose reads: the file without a version is one of the Compose Specification."""
    ran = subprocess.run(
        [program("docker-compose", "docker-compose"), *arguments, "-f", str(FILE), "config"],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    content: dict[str, Any] = yaml.safe_load(ran.stdout)
    return content


def everything() -> dict[str, Any]:
    content = yaml.safe_load(FILE.read_text())
    assert "version" not in content  # obsolete; with it, 1.29 reads an earlier format
    services: dict[str, Any] = content["services"]
    return services


def test_file_is_valid_with_and_without_profiles() -> None:
    profiles = [word for each in PROFILES for word in ("--profile", each)]
    assert set(configured(*profiles)["services"]) == set(everything())
    assert {*OURS, "prometheus", "grafana"} <= set(everything())
    by_default = {name for name, each in everything().items() if "profiles" not in each}
    assert by_default == {"service", "worker"}


def test_cluster_shares_database_and_storage_and_nothing_else() -> None:
    services = configured("--profile", "cluster")["services"]
    parts = [each for each in services if each.startswith(("service-", "worker-"))]
    parts = [each for each in parts if "gpu" not in each]
    assert sorted(parts) == ["service-a", "service-b", "worker-a", "worker-b", "worker-c"]
    shared = ("ISS_DATABASE_URL", "ISS_ARTIFACTS_URL", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")
    known = {tuple(services[each]["environment"][name] for name in shared) for each in parts}
    assert len(known) == 1
    assert len({tuple(services[each]["volumes"]) for each in parts}) == len(parts)


def test_cluster_begins_once_database_and_storage_answer() -> None:
    """A service without its bucket is not ready, and a worker without its database ends."""
    services = everything()
    parts = [each for each in services if each.startswith(("service-", "worker-"))]
    for each in set(parts) - set(OURS):
        awaited = services[each]["depends_on"]
        conditions = {name: what["condition"] for name, what in awaited.items()}
        assert conditions == {"database": "service_healthy", "storage": "service_healthy"}
    assert "pg_isready" in services["database"]["healthcheck"]["test"]
    storage = (ROOT / "deploy" / "cluster" / "Dockerfile").read_text()
    assert "HEALTHCHECK" in storage
    (bucket,) = re.findall(r"^ENV BUCKET=(\w+)$", storage, re.MULTILINE)
    address = services["service-a"]["environment"]["ISS_ARTIFACTS_URL"]
    assert address.startswith(f"s3://{bucket}/")


def test_settings_of_the_example_reach_every_process_of_ours() -> None:
    variables = {"ISS_PROCESSES": "2", "ISS_LOG_LEVEL": "DEBUG", "ISS_JOB_LOG_LEVEL": "WARNING"}
    services = configured("--profile", "cluster", **variables)["services"]
    for each in ("service", "service-a", "service-b"):
        assert variables.items() <= services[each]["environment"].items()
    for each in ("worker", "worker-a", "worker-b", "worker-c"):
        assert services[each]["environment"]["ISS_JOB_LOG_LEVEL"] == "WARNING"
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in services[each]["environment"]


def test_port_address_and_limits_are_chosen_by_variables() -> None:
    found = configured(
        SERVICE_PORT="9999", BIND_ADDRESS="0.0.0.0", SERVICE_MEMORY="3g", WORKER_CPUS="1.5"
    )["services"]
    assert found["service"]["ports"] == ["0.0.0.0:9999:8000/tcp"]
    assert found["service"]["mem_limit"] == "3g"
    assert found["worker"]["cpus"] == 1.5
    assert configured()["services"]["service"]["ports"] == ["127.0.0.1:8000:8000/tcp"]


def test_example_names_every_variable_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", FILE.read_text()))
    shown = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    assert shown == used


@pytest.mark.parametrize("name", sorted(everything()))
def test_containers_have_no_rights_and_an_end_of_memory(name: str) -> None:
    service = everything()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert all(
        re.match(r"127\.0\.0\.1:|\$\{BIND_ADDRESS:-127", each) for each in service.get("ports", [])
    )


def test_settings_are_known_and_images_have_the_version() -> None:
    known = {variable_of(field) for group in GROUPS for field in group.model_fields}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    services = everything()
    for name in OURS:
        settings = {each for each in services[name]["environment"] if each.startswith("ISS_")}
        assert settings <= known
        assert services[name]["image"].endswith(f":{version}")
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"ARG VERSION={version}\n" in dockerfile
    for label in ("version", "revision", "licenses", "title", "description"):
        assert f"org.opencontainers.image.{label}=" in dockerfile


def health_check(dockerfile: Path, ports: dict[str, int], **variables: str) -> int:
    """The exit status of the first check that a Dockerfile names, at other ports."""
    (found, *_) = re.findall(r"^ +CMD (\[.*\])$", dockerfile.read_text(), re.MULTILINE)
    command = [str(each) for each in json.loads(found)]
    assert command[0] == "bash"  # a Python takes a hundred times as long, every five seconds
    for name, port in ports.items():
        assert name in command[2]
        command[2] = command[2].replace(name, str(port))
    return subprocess.run(command, env=os.environ | variables, stderr=subprocess.DEVNULL).returncode


def test_service_is_healthy_while_it_is_ready(tmp_path: Path) -> None:
    service = served(tmp_path / "home", {})
    with service as url:
        port = {"8000": int(url.rpartition(":")[2])}
        assert health_check(ROOT / "Dockerfile", port) == 0
        shutil.rmtree(tmp_path / "home" / "artifacts")
        assert health_check(ROOT / "Dockerfile", port) == 1
    assert health_check(ROOT / "Dockerfile", port) == 1


@pytest.mark.slow
def test_storage_is_healthy_once_it_has_its_bucket(object_storage: ObjectStorage) -> None:
    ports = {"8333": object_storage.port, "8888": object_storage.filer_port}
    for bucket, status in ((BUCKET, 0), ("another", 1)):
        assert health_check(ROOT / "deploy/cluster/Dockerfile", ports, BUCKET=bucket) == status
    ports["8333"] = free_port()
    assert health_check(ROOT / "deploy/cluster/Dockerfile", ports, BUCKET=BUCKET) == 1


def test_service_and_worker_share_one_volume() -> None:
    """Files are renamed into their places, which no second volume within it would allow."""
    mounts = {
        name: {each.partition(":")[2] for each in everything()[name]["volumes"]} for name in OURS
    }
    assert mounts["service"] == mounts["worker"] == {"/data"}
    # A volume takes the owner of the folder in the image, which has to be there.
    assert "mkdir -p /data && chown" in (ROOT / "Dockerfile").read_text()


def test_what_is_mounted_from_here_is_there() -> None:
    for service in everything().values():
        for each in service.get("volumes", []):
            source = each.partition(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source


def test_misspelt_key_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(FILE.read_text().replace("cap_drop:", "cap_dropp:"))
    ran = subprocess.run(
        [program("docker-compose", "docker-compose"), "-f", str(broken), "config", "-q"],
        capture_output=True,
    )
    assert ran.returncode != 0
