"""`isslim sweeps`: one model under several budgets."""

from __future__ import annotations

from isslim.client import show
from isslim.client.api import Client
from isslim.client.commands.answers import Answers
from isslim.client.commands.options import HERE, AsJson, SweepName, Url


def list_sweeps(url: Url = HERE, as_json: AsJson = False) -> None:
    """Lists the sweeps, newest first."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.sweeps()
    answers.give(found, lambda: show.sweeps_table(found))


def show_sweep(sweep: SweepName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Shows a sweep's jobs, and the models that no other beats."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.get_sweep(sweep)
    answers.give(found, lambda: show.sweep_detail(found))


def cancel(sweep: SweepName, url: Url = HERE, as_json: AsJson = False) -> None:
    """Cancels a sweep's jobs that have not ended."""
    answers = Answers(as_json)
    with Client(url) as client:
        found = client.cancel_sweep(sweep)
    answers.give(found, lambda: f"the sweep {found.id} is {found.state}")
