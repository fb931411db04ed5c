"""Rows by the million are copies that the service delivers as it delivers its own."""

from pathlib import Path

import pytest

from benchmarks.cloning import clone_messages, clone_profiles, tidy
from benchmarks.trial.service import TrialService
from benchmarks.trial.sink import running_sink


@pytest.mark.slow
@pytest.mark.timeout(600)  # four processes, one after another, on a machine that may be busy
def test_copies_are_delivered(database_url: str, tmp_path: Path) -> None:
    """One message for each of many profiles, and a backlog of one profile, on both databases."""
    with running_sink() as (port, counts):
        service = TrialService(tmp_path, database_url)
        service.prepare(smtp_port=port)
        with service.serving("--no-delivery") as trial:
            for kind in ("profiles", "messages"):
                trial.accept(1, connections=1)
                if kind == "profiles":
                    clone_profiles(database_url, count=9, tenants_count=3)
                else:
                    clone_messages(database_url, copies=4)
                    clone_messages(database_url, copies=5)
                tidy(database_url)
                assert trial.unfinished() == 10
                service.drain(trial, counts, 10)
                assert trial.unfinished() == 0
