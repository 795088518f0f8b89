"""`isslim models delete` says which of several models of one name is gone."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner

from isslim.client.api import Client
from isslim.client.cli import app
from isslim.types.schemas.aliases import AliasRequest
from tests.conftest import Published
from tests.service.copies import publish_as
from tests.service.served import served


def test_what_a_name_means_is_deleted_and_the_next_one_is_named(
    published: Published, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.settings.home, home)
    newer = publish_as("tiny", published, home, created_at=datetime.now(UTC))
    assert newer != published.bundle_id
    with served(home, {}) as url, Client(url) as client:
        runner = CliRunner(env={"ISS_URL": url})
        first = runner.invoke(app, "models delete tiny")
        assert (first.exit_code, first.stdout) == (0, f"deleted: tiny ({published.bundle_id})\n")
        assert first.stderr == f"a model named 'tiny' is still there: {newer}\n"
        assert [each.id for each in client.models()] == [newer]
        client.put_alias("tiny", AliasRequest(model=newer))
        refused = runner.invoke(app, "models delete tiny")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "needed by the alias 'tiny'" in refused.stderr
        client.delete_alias("tiny")
        last = runner.invoke(app, "models delete tiny --json")
        assert json.loads(last.stdout) == {"deleted": newer, "name": "tiny"}
        assert last.stderr == ""
        assert client.models() == []
