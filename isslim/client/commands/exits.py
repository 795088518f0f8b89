"""The exit codes of `isslim`, for scripts; every command's help names them."""

from __future__ import annotations

from isslim.types.jobs import Job, JobState

OK = 0
REFUSED = 1
USAGE = 2
BUDGET_NOT_MET = 3
UNREACHABLE = 4
CANCELLED = 5
INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""
MEANINGS = {
    OK: "ok",
    REFUSED: "refused or failed",
    USAGE: "wrong usage",
    BUDGET_NOT_MET: "budget not met",
    UNREACHABLE: "no service answers",
    CANCELLED: "cancelled",
    INTERRUPTED: "interrupted (Ctrl-C)",
}
EPILOG = f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in MEANINGS.items())}."
_OF_STATES = {
    JobState.SUCCEEDED: OK,
    JobState.BUDGET_NOT_MET: BUDGET_NOT_MET,
    JobState.FAILED: REFUSED,
    JobState.CANCELLED: CANCELLED,
}


def of_job(job: Job) -> int:
    """The exit code of a command that waited for a job which has ended."""
    return _OF_STATES[job.state]


def of_jobs(jobs: list[Job]) -> int:
    """The same for several jobs: 0 if any of them succeeded."""
    codes = [of_job(job) for job in jobs]
    return OK if OK in codes else max(codes)
