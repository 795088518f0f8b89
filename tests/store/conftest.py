"""Tests of the store run on both of what it can be kept in."""

from __future__ import annotations

from pathlib import Path

import pytest

from isslim.store.settings import StoreSettings
from tests.backends import Backend


@pytest.fixture
def settings(tmp_path: Path, backend: Backend) -> StoreSettings:
    """An empty home, database and storage."""
    return backend.settings(tmp_path / "home")
