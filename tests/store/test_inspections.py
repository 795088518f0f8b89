"""The tables: what an earlier release left is read, and an inspection has one answer a run."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from isslim.store.errors import NotFound
from isslim.store.inspections import InspectionRecords
from isslim.store.records import JobRecords
from isslim.store.settings import StoreSettings
from isslim.types.inspection import Inspection, PendingInspection
from isslim.types.jobs import CompressionRequest, UploadRef

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
    after.begin("job", 1)
    assert after.inspected("job", 1, Inspection(understood=True, layout="a line"))
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
    assert records.begin("a", 1) == 1
    assert records.begin("a", 1) == 2  # its worker was lost
    assert records.uploads() == {"0" * 64}
    pending = records.get("a")
    assert isinstance(pending, PendingInspection)
    assert pending.state == "running"
    assert records.finish("a", 1, Inspection(understood=True))
    assert not records.finish("a", 1, Inspection(understood=False))
    assert not records.is_active("a", 1)
    assert records.get("a") == Inspection(understood=True)
    assert records.uploads() == set()
    assert records.add("a", REQUEST) == 2
    assert records.begin("a", 1) is None
    records.begin("a", 2)
    records.finish("a", 2, Inspection(understood=True))
    records.collect_garbage()
    assert records.get("a") == Inspection(understood=True)
    records.collect_garbage(timedelta(0))
    with pytest.raises(NotFound):
        records.get("a")
    jobs.close()
