"""Clips that were asked for together, and are looked at and stopped together: of several seeds, to choose from, or of several photos."""

import secrets

from trip.jobs.store import Job, JobStore

BATCH = "batch"  # setting of an "animate" job: the name of its batch, and its label there; one without labels is to choose from
PREFIX = "b."  # of the names


def new_batch() -> str:
    """A name that cannot be guessed, and is no job's id."""
    return f"{PREFIX}{secrets.token_urlsafe(9)}"


def parts_of(store: JobStore, visitor: str, name: str) -> list[Job]:
    """A visitor's jobs of a batch that are there, as they were asked for."""
    found = [job for job in store.jobs(visitor) if name_of(job) == name] if isinstance(name, str) and name.startswith(PREFIX) else []
    return sorted(found, key=lambda job: job.created)


def name_of(job: Job) -> str:
    """The name of a job's batch; empty where it is in none."""
    return job.settings.get(BATCH, {}).get("name", "")


def label_of(job: Job) -> str:
    """What a job is in its batch; empty where it is one seed of several."""
    return job.settings.get(BATCH, {}).get("label", "")
