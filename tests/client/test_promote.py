"""`isslim promote`, `rollback` and `aliases`, from a first promotion to one by a rule."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from isslim.client.api import Client
from isslim.client.cli import app
from isslim.client.commands import exits
from tests.conftest import Published
from tests.service.served import served

Call = Callable[[str], Result]


@pytest.fixture(scope="module")
def service(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("promoted") / "home"
    shutil.copytree(published.settings.home, home)
    with served(home, {}) as url:
        yield url


@pytest.fixture
def call(service: str) -> Call:
    return lambda line: CliRunner(env={"ISS_URL": service}).invoke(app, line)


def test_trial_by_a_rule_promotes_and_is_rolled_back(
    service: str, call: Call, published: Published
) -> None:
    model = published.bundle_id
    first = call("promote tiny --as prod --variant original --note 'as before'")
    assert (first.exit_code, first.stdout) == (0, f"prod -> {model}:original\n")
    tried = call("promote tiny --as prod --variant compressed --if 'change < 9 on 3' --share 1")
    assert tried.stdout.startswith(
        f"prod -> {model}:original, canary {model}:compressed (1); what the trial shows: isslim"
    )
    with Client(service) as client:
        limit = time.monotonic() + 30
        while client.alias("prod").variant != "compressed":
            assert client.score("prod", ["the cat sees the road"]).variants
            assert time.monotonic() < limit
    shown = call("aliases show prod --json")
    assert '"promoted"' in shown.stdout
    text = call("aliases show prod").stdout
    assert text.startswith(f"prod -> {model}:compressed\n")
    words = " ".join(text.split())
    actions = ["promoted: ", "rule held: change", "set: ", "from 127.0.0.1; as before)"]
    places = [words.index(each) for each in actions]
    assert places == sorted(places)
    assert call("aliases shadow prod").stdout == f"prod tries nothing beside {model}:compressed\n"
    back = call("rollback prod --note 'too bold'")
    assert back.stdout == f"prod -> {model}:original\n"


def test_shadow_is_tried_by_an_option(call: Call, published: Published) -> None:
    call("promote tiny --as live --variant original")
    tried = call("promote tiny --as live --shadow")
    model = published.bundle_id
    assert tried.stdout.startswith(
        f"live -> {model}:original, shadow {model}:compressed-int8 (0.1)"
    )
    assert "shadow" in call("aliases list").stdout
    assert call("aliases delete live").stdout == "deleted: live\n"


@pytest.mark.parametrize(
    "rule", ["better", "change < x on 5", "change < 0.1 on 1", "change < -1 on 9", "0.02"]
)
def test_what_is_no_rule_is_refused(rule: str, call: Call) -> None:
    refused = call(f"promote tiny --as prod --if '{rule}'")
    assert (refused.exit_code, refused.stdout) == (exits.USAGE, "")
