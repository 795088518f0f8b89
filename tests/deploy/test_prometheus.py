"""Dashboard and alerts by a real Prometheus, which scrapes a real service and a real worker."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from isslim.demo.ports import free_port
from tests.conftest import Published
from tests.deploy.programs import ROOT, program
from tests.service.served import service_and_worker

pytestmark = pytest.mark.slow
DASHBOARD = ROOT / "deploy" / "grafana" / "isslim.json"
PROMETHEUS = ROOT / "deploy" / "prometheus"
ASK = {"model": "tiny", "texts": ["the cat sees the river"]}
VARIABLES = {"$job": ".*", "$worker": ".*", "$model": ".*", "$__rate_interval": "30s"}


def expressions(dashboard: dict[str, Any]) -> dict[str, str]:
    """The queries of all panels, by panel and letter, with the variables filled in."""
    found = {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def ready(url: str, seconds: float = 60) -> None:
    """Waits for a Prometheus that answers queries: until then it says 503, in plain words."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"Prometheus at {url} is not ready after {seconds:g} s")


@contextmanager
def prometheus(folder: Path, targets: dict[str, str]) -> Iterator[str]:
    """A Prometheus with our rules that scrapes addresses, by job; its own address."""
    shutil.copy(PROMETHEUS / "rules.yml", folder)
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program("prometheus", "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
    )
    try:
        ready(f"http://{address}")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str, expression: str) -> list[Any]:
    """What a Prometheus answers to a query that it can read."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=20).json()
    assert answer["status"] == "success", (expression, answer)
    result: list[Any] = answer["data"]["result"]
    return result


def eventually_answered(url: str, expression: str, seconds: float = 30) -> list[Any]:
    limit = time.monotonic() + seconds
    while True:
        found = answers(url, expression)
        if found or time.monotonic() > limit:
            return found
        time.sleep(0.3)


def test_every_panel_shows_something_after_one_score(published: Published, tmp_path: Path) -> None:
    home, port = tmp_path / "home", free_port()
    shutil.copytree(published.settings.home, home)
    with service_and_worker(home, ISS_WORKER_METRICS_PORT=str(port)) as service:
        worker = f"127.0.0.1:{port}"
        targets = {"isslim": service.removeprefix("http://"), "isslim-worker": worker}
        with prometheus(tmp_path, targets) as url:
            assert httpx.post(f"{service}/score", json=ASK, timeout=30).status_code == 200
            run = 'isslim_inference_run_seconds_count{variant="original"}[20s]'
            assert eventually_answered(url, f"count_over_time({run}) > 1")
            assert eventually_answered(url, "count_over_time(isslim_worker_jobs_running[20s]) > 1")
            asked = expressions(json.loads(DASHBOARD.read_text()))
            empty = [panel for panel, each in asked.items() if not eventually_answered(url, each)]
            assert empty == []
            assert len(asked) >= 20
            assert answers(url, "isslim_workers")[0]["value"][1] == "1"
            rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"][0]["rules"]
            assert {each["health"] for each in rules} == {"ok"}
        for metrics in (f"{service}/metrics", f"http://{worker}/metrics"):
            text = httpx.get(metrics).text
            checked = subprocess.run(
                [program("promtool", "prometheus"), "check", "metrics"],
                input=text,
                capture_output=True,
                text=True,
            )
            assert checked.returncode == 0, checked.stderr


def test_expression_with_a_misspelt_metric_is_empty(tmp_path: Path) -> None:
    """The check above finds the fault that it is for."""
    dashboard = json.loads(DASHBOARD.read_text())
    broken = copy.deepcopy(dashboard)
    panel = next(each for each in broken["panels"] if each.get("targets"))
    panel["targets"][0]["expr"] = panel["targets"][0]["expr"].replace("http_server", "http_servre")
    with prometheus(tmp_path, {}) as url:
        assert not eventually_answered(url, expressions(broken)[f"{panel['title']} A"], 1)


def test_alerts_fire_on_what_they_are_for_and_on_nothing_else() -> None:
    promtool = program("promtool", "prometheus")
    for arguments in (
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
        ["check", "config", "prometheus.yml"],
    ):
        subprocess.run([promtool, *arguments], cwd=PROMETHEUS, check=True)
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]]
    assert {each["alert"] for each in rules} == {each["alertname"] for each in cases}


def test_alert_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "p")
    rules = tmp_path / "p" / "rules.yml"
    rules.write_text(rules.read_text().replace("== 0 and", "== 5 and"))
    ran = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", "rules_test.yml"],
        cwd=tmp_path / "p",
        capture_output=True,
    )
    assert ran.returncode != 0
