"""The whole job in a real browser against a real worker, by mouse, by keyboard, over a restart."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from isslim.client.api import Client
from isslim.demo.ports import free_port
from isslim.types.access import Scope
from tests.conftest import Published, Trained
from tests.service.access.conftest import make_keys
from tests.service.page.conftest import Seen, watched
from tests.service.page.test_screens import violations
from tests.service.served import served, wait_for

pytestmark = pytest.mark.slow
ENDED = 240_000
"""Milliseconds that a small job may take on a busy host."""


def files(trained: Trained) -> list[Path]:
    return [trained.model, trained.vocabulary, trained.calibration, trained.held_out]


def ready(page: Page, name: str) -> None:
    """The form of a job, with the name of its model."""
    expect(page.get_by_label("What held-out.txt is")).to_have_value("held_out")
    expect(page.get_by_label("What words.txt is")).to_have_value("vocabulary")
    expect(page.get_by_label("What calibration.txt is")).to_have_value("calibration")
    page.get_by_label("Name of the new model").fill(name)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Most minutes of distillation").fill("0")


def test_files_become_a_model_by_mouse(seen: Seen, trained: Trained) -> None:
    page = seen.open()
    page.locator("main input[type=file]").set_input_files(files(trained))
    ready(page, "moused")
    page.get_by_role("button", name="See what is understood").click()
    expect(page.get_by_role("heading", name="What was understood")).to_be_visible()
    expect(page.get_by_text("2 LSTM layers")).to_be_visible()
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_url(re.compile("#/jobs/"))
    expect(page.locator("h1")).to_have_text("moused")
    expect(page.locator("g.candidate").first).to_be_visible(timeout=ENDED)
    seen.picture("job")
    page.wait_for_url(re.compile("#/models/"), timeout=ENDED)
    expect(page.locator("h1")).to_have_text("moused")
    expect(page.get_by_role("group", name=re.compile("against the original"))).to_be_visible()
    seen.picture("made")
    # Another one from a point of its curve.
    page.get_by_role("link", name="Trade-off").click()
    page.locator("g[role=button]").first.press("Enter")
    page.get_by_role("button", name="Start a job").click()
    page.wait_for_url(re.compile("#/jobs/"))
    expect(page.locator("h1")).to_have_text(re.compile(r"moused-\d+"))


def test_files_become_a_job_by_keyboard_alone(
    browser: Browser, trained: Trained, tmp_path: Path
) -> None:
    """Without a worker: the job waits until it is cancelled, by keyboard too."""
    with served(tmp_path / "home", {}) as url:
        page = browser.new_page()
        seen = watched(page, url)
        typed(seen.open(), trained)
        page.close()
        assert seen.faults == []


def typed(page: Page, trained: Trained) -> None:
    """From the files to a job that is cancelled."""
    # Choosers are taken over from now on: asked for late, the browser's own dialog may be faster.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("main input[type=file]")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(files(trained))
    expect(page.get_by_role("heading", name="How much may be lost")).to_be_visible()
    pressed(page, "slider", "At most")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("typed")
    pressed(page, "button", "Start the job")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("#/jobs/"))
    expect(page.locator("h1")).to_have_text("typed")
    expect(page.locator(".lead")).to_have_text("waiting · number 1 in the queue")
    pressed(page, "button", "Cancel the job")
    page.keyboard.press("Space")
    expect(page.locator(".lead")).to_have_text("cancelled")


def pressed(page: Page, role: str, name: str) -> None:
    """Presses the tabulator until an element has the focus."""
    wanted = page.get_by_role(role, name=name).first  # type: ignore[arg-type]
    expect(wanted).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"the tabulator does not reach {name}")


class Restarted:
    """A service that is killed and started again at the same address, and a worker that goes on."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = os.environ | {"ISS_HOME": str(home), "ISS_PORT": str(self.port)}
        self.worker = self._started("isslim.compress.worker")
        self.service = self._started("isslim.service")
        self.wait()

    def _started(self, module: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", module], env=self._environment)

    def wait(self) -> None:
        with Client(self.url) as client:
            wait_for(client)

    def kill(self) -> None:
        self.service.send_signal(signal.SIGKILL)
        self.service.wait(timeout=20)

    def start(self) -> None:
        self.service = self._started("isslim.service")
        self.wait()

    def close(self) -> None:
        for process in (self.service, self.worker):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in (self.service, self.worker):
            process.wait(timeout=20)


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[Restarted]:
    made = Restarted(tmp_path / "home")
    yield made
    made.close()


def test_page_recovers_from_a_restart_in_mid_job(
    browser: Browser, restarted: Restarted, trained: Trained
) -> None:
    page = browser.new_page()
    seen = watched(page, restarted.url)
    seen.open()
    page.locator("main input[type=file]").set_input_files(files(trained))
    ready(page, "restarted")
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_url(re.compile("#/jobs/"))
    expect(page.locator(".stages .now")).to_be_visible(timeout=ENDED)
    restarted.kill()
    expect(page.get_by_text("The connection is lost")).to_be_visible()
    restarted.start()
    expect(page.get_by_text("The connection is lost")).to_be_hidden()
    page.wait_for_url(re.compile("#/models/"), timeout=ENDED)
    expect(page.locator("h1")).to_have_text("restarted")
    page.close()
    assert [each for each in seen.faults if "ERR_" not in each] == []


def test_silent_connection_is_lost_and_comes_back(
    browser: Browser, restarted: Restarted, trained: Trained
) -> None:
    """As after a computer's sleep: nobody has closed it, and nothing comes through it."""
    restarted.worker.send_signal(signal.SIGSTOP)
    page = browser.new_page()
    seen = watched(page, restarted.url)
    seen.open("compress")
    page.locator("main input[type=file]").set_input_files(files(trained))
    ready(page, "silent")
    page.get_by_role("button", name="Start the job").click()
    expect(page.locator(".lead")).to_have_text("waiting · number 1 in the queue")
    restarted.service.send_signal(signal.SIGSTOP)
    expect(page.get_by_text("The connection is lost")).to_be_visible()
    restarted.service.send_signal(signal.SIGCONT)
    expect(page.get_by_text("The connection is lost")).to_be_hidden()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".lead")).to_have_text("cancelled")
    restarted.worker.send_signal(signal.SIGCONT)
    page.close()
    assert [each for each in seen.faults if "ERR_" not in each] == []


def test_two_tabs_show_one_job(browser: Browser, trained: Trained, tmp_path: Path) -> None:
    """Cancelled in one and started again in the other, over a reload and a way back."""
    with served(tmp_path / "home", {}) as url:
        first, second = (watched(browser.new_page(), url) for _ in range(2))
        first.open("compress")
        first.page.locator("main input[type=file]").set_input_files(files(trained))
        ready(first.page, "both")
        first.page.get_by_role("button", name="Start the job").click()
        first.page.wait_for_url(re.compile("#/jobs/"))
        second.open(first.page.url.partition("#/")[2])
        states = [each.page.locator(".lead") for each in (first, second)]
        for state in states:
            expect(state).to_have_text("waiting · number 1 in the queue")
        second.page.reload()
        expect(states[1]).to_have_text("waiting · number 1 in the queue")
        first.page.go_back()
        expect(first.page.get_by_role("heading", name="Compress a model")).to_be_visible()
        first.page.go_forward()
        expect(states[0]).to_have_text("waiting · number 1 in the queue")
        first.page.get_by_role("button", name="Cancel the job").click()
        for state in states:
            expect(state).to_have_text("cancelled")
        second.page.get_by_role("button", name="Start it again").click()
        for state in states:
            expect(state).to_have_text("waiting · number 1 in the queue")
        for seen in (first, second):
            seen.page.close()
            assert seen.faults == []


def test_key_is_asked_for_and_then_works(
    browser: Browser, published: Published, tmp_path: Path
) -> None:
    keys = make_keys(tmp_path, page=[Scope.READ, Scope.SCORE])
    home = published.settings.home
    with served(home, {"ISS_API_KEYS_FILE": str(keys.file)}) as url:
        page = browser.new_page()
        seen = watched(page, url)
        seen.open("models/tiny")
        field = page.get_by_label("Key", exact=True)
        expect(field).to_be_focused()
        field.fill("not-a-key")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Key", exact=True)).to_be_visible()
        page.get_by_label("Key", exact=True).fill(keys.by_name["page"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("option").first).to_be_visible()
        expect(page.get_by_label("Key", exact=True)).to_be_hidden()
        # Kept for this tab, over a reload, and never as a cookie.
        page.reload()
        expect(page.get_by_role("option").first).to_be_visible()
        assert page.context.cookies() == []
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_label("Key", exact=True)).to_be_visible()
        page.close()
        assert seen.faults == []


def test_sweep_is_started_and_said_as_a_command(
    browser: Browser, trained: Trained, tmp_path: Path
) -> None:
    """Without a worker. The command, as it is shown, asks for the same."""
    with served(tmp_path / "home", {}) as url:
        page = browser.new_page(viewport={"width": 320, "height": 900}, color_scheme="dark")
        seen = watched(page, url)
        seen.open("sweeps").get_by_role("link", name="Compress a model").click()
        page.locator("main input[type=file]").set_input_files(files(trained))
        ready(page, "swept")
        page.get_by_label("Other limits as well").check()
        limits = page.locator("details li")
        expect(limits).to_have_count(4)
        page.get_by_role("combobox", name="Limit").select_option("speedup")
        expect(limits.first).to_have_text("At least 1.5 times as fast")
        page.get_by_text("The same as a command").click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        command = page.get_by_label("isslim", exact=True).inner_text()
        page.get_by_role("button", name="Start 4 jobs").click()
        page.wait_for_url(re.compile("#/sweeps/"))
        expect(page.get_by_text("speedup 4.5")).to_be_visible()
        program, *arguments = shlex.split(command.replace("\\\n", " "))
        assert program == "isslim"
        run = [sys.executable, "-m", "isslim.client", *arguments, "--detach", "--json"]
        done = subprocess.run(run, cwd=trained.folder, check=True, timeout=60, capture_output=True)
        # The same request is the same sweep.
        assert json.loads(done.stdout)["id"] == page.url.rpartition("/")[2]
        with Client(url) as client:
            (sweep,) = client.sweeps()
        shown = [each.request.recipe for each in sweep.jobs]
        assert [each.budget.speedup for each in shown] == [1.5, 3, 4.5, 6]
        page.close()
        assert seen.faults == []


def test_file_that_is_no_text_is_not_taken_for_one(seen: Seen) -> None:
    page = seen.open("compress")
    picture = {"name": "photo.png", "mimeType": "", "buffer": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"}
    page.locator("main input[type=file]").set_input_files([picture])  # type: ignore[list-item]
    expect(page.get_by_label("What photo.png is")).to_have_value("")
    expect(page.get_by_role("status")).to_have_text("Say which file is the model.")
