"""Runs the service: `python -m isslim.service`."""

from __future__ import annotations

import logging
import sys

from isslim.service import logs
from isslim.service.supervision.many import serve_many
from isslim.service.supervision.plan import plan_of
from isslim.settings.cores import cores
from isslim.settings.environment import read_or_exit
from isslim.settings.service import ServiceSettings
from isslim.store.database_check import check_database
from isslim.store.errors import BadAddress, DamagedDatabase
from isslim.store.remote import check_address


def main() -> None:
    """Serves until it is asked to stop, and then for at most a few seconds more."""
    settings = read_or_exit(ServiceSettings, "isslim service")
    try:
        check_database(settings)
        check_address(settings)
    except (DamagedDatabase, BadAddress) as fault:
        sys.exit(f"isslim service: {fault}")
    logs.configure(settings)
    if settings.exposure is not None:
        logging.getLogger("service.access").warning("%s", settings.exposure)
    plan = plan_of(settings, cores())
    if settings.processes != 1:
        chosen = logging.getLogger("service.plan")
        chosen.setLevel(logging.INFO)  # printed whatever ISS_LOG_LEVEL is
        chosen.info("%s", plan)
    if plan.processes > 1:
        serve_many(settings, plan.processes)
    else:
        # Imported here, since a supervisor needs nothing of it: 80 MB.
        from isslim.service.server import serve

        serve(settings)


if __name__ == "__main__":
    main()
