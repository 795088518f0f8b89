"""The tables: what an earlier release left is read, and an inspection has one answer a run."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from isslim.store.attempts import Elsewhere
from isslim.store.errors import NotFound
from isslim.store.inspections import InspectionRecords
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest, UploadRef
from tests.jobs import answer, begin

REQUEST = CompressionRequest(model=UploadRef(sha256="0" * 64, filename="m.pt", size_bytes=1))


def test_database_of_an_earlier_release_gets_the_columns_that_it_lacks(
    settings: StoreSettings,
) -> None:
    before = JobRecords(settings)
    before.add("job", REQUEST)
    with before.engine.begin() as connection:
        connection.execute(sa.text("drop table iss_schema"))  # it kept no versions
        connection.execute(sa.text("alter table iss_jobs drop column inspection"))
    before.close()
    after = JobRecords(settings)
    assert after.get("job").inspection is None
    attempt = begin(after, "job")
    assert after.attempts.inspected(attempt, Inspection(understood=True, layout="a line"))
    found = after.get("job").inspection
    assert found is not None
    assert found.layout == "a line"
    after.close()


def test_one_answer_a_run_and_answers_are_not_kept_for_ever(
    settings: StoreSettings,
) -> None:
    jobs = JobRecords(settings)
    records = InspectionRecords(jobs.engine)
    assert records.add("a", REQUEST) == 1
    assert records.add("a", REQUEST) == 1  # joins the one that waits
    first = records.begin("a", 1, "one", lambda token: False)
    assert first is not None
    with pytest.raises(Elsewhere):
        records.begin("a", 1, "two", lambda token: token != "one")
    second = records.begin("a", 1, "two", lambda token: token == "one")  # which was lost
    assert second is not None
    assert (first.number, second.number, second.deaths) == (1, 2, 1)
    assert (records.is_current(first), records.is_current(second)) == (False, True)
    assert not records.finish(first, Inspection(understood=False))
    assert records.hand_back(second)
    assert not records.finish(first, Inspection(understood=False))
    third = records.begin("a", 1, "three", lambda token: False)
    assert third is not None
    assert (third.number, third.deaths) == (3, 1)
    assert records.uploads() == {"0" * 64}
    pending = records.get("a")
    assert isinstance(pending, PendingInspection)
    assert pending.state == "running"
    assert records.finish(third, Inspection(understood=True))
    assert not records.finish(third, Inspection(understood=False))
    assert not records.is_active("a", 1)
    assert records.get("a") == Inspection(understood=True)
    assert records.uploads() == set()
    assert records.add("a", REQUEST) == 2
    assert records.begin("a", 1, "one", lambda token: True) is None
    assert answer(records, "a", Inspection(understood=True), run=2)
    records.collect_garbage()
    assert records.get("a") == Inspection(understood=True)
    records.collect_garbage(timedelta(0))
    with pytest.raises(NotFound):
        records.get("a")
    jobs.close()
