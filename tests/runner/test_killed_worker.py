"""Workers as processes: one is killed, and the server is restarted, in the middle of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy.exc

from tests.benchmarks.workers import replayed_task, start, stored
from tests.postgres import Postgres
from tests.stubs import until

pytestmark = pytest.mark.xdist_group("postgres")
_TRIALS = 16


@pytest.mark.slow
def test_a_killed_worker_and_a_restarted_server_lose_no_trial_and_repeat_none(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    task = replayed_task(tmp_path, _TRIALS)
    name = "with-faults"

    def count() -> int:
        try:
            return len(stored(postgres_server, name)[0])
        except sqlalchemy.exc.SQLAlchemyError:
            # Before the tables exist.
            return 0

    # The clock of one of them is an hour ahead.
    places = [(tmp_path / str(number) / name, ahead_s) for number, ahead_s in enumerate((0, 3600))]
    killed, other = (start(postgres_server, task, folder, 1 / 50, 1, 20, ahead_s) for folder, ahead_s in places)
    try:
        until(lambda: count() >= 4, within_s=180)
        killed.kill()
        postgres_server.stop()
        postgres_server.start()
        output, _ = other.communicate(timeout=300)
        assert other.returncode == 0, output
    finally:
        for process in (killed, other):
            process.kill()
            process.communicate()
    found, _ = stored(postgres_server, name)
    assert sorted(found) == sorted(f"COMPLETE {number:g}" for number in range(_TRIALS))
