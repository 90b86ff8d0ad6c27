"""How many more jobs two workers compute than one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cotrain_bench import workers


def test_a_ratio_is_the_time_of_one_worker_over_that_of_two_after_a_round_that_does_not_count(monkeypatch, capsys):
    seconds = iter([9.0, 1.0, 4.0, 2.0, 6.0, 4.0, 3.0, 3.0])
    monkeypatch.setattr(workers, "executor", lambda _, n: ThreadPoolExecutor(n))
    monkeypatch.setattr(workers, "JOBS_OF", {"nap": lambda: None})
    monkeypatch.setattr(workers, "took", lambda pool, job: next(seconds))
    workers.main(rounds=3)
    assert capsys.readouterr().out == "nap: 1.50 [1.00, 2.00]\n"


def test_all_jobs_of_a_round_are_done_when_it_ends_and_one_that_fails_is_not_timed():
    done: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        assert workers.took(pool, lambda: done.append(1)) > 0 and len(done) == workers.JOBS
        with pytest.raises(ZeroDivisionError):
            workers.took(pool, lambda: 1 / 0)
