"""The compose profile `cluster` is valid, and starts what it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def test_profile_is_valid_and_its_parts_share_database_and_storage() -> None:
    if shutil.which("docker-compose") is None:
        if os.environ.get("CI"):
            pytest.fail("docker-compose is not installed")
        pytest.skip("docker-compose is not installed")
    done = subprocess.run(
        ["docker-compose", "--profile", "cluster", "config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    services: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    parts = [name for name in services if name.startswith(("service-", "worker-"))]
    assert sorted(parts) == ["service-a", "service-b", "worker-a", "worker-b", "worker-c"]
    shared = {
        json.dumps([services[each]["environment"][name] for name in SHARED]) for each in parts
    }
    assert len(shared) == 1
    volumes = [json.dumps(services[each]["volumes"]) for each in parts]
    assert len(set(volumes)) == len(parts)  # a home each, as on machines of their own


SHARED = ("ISS_DATABASE_URL", "ISS_ARTIFACTS_URL", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")
