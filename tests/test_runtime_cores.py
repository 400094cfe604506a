"""Threads follow what other programs leave."""

import subprocess
import sys
import time

import psutil
import pytest
import torch

from ldm.runtime.cores import Cores, Reading, quota


class Clock:
    """A machine whose use is told."""

    def __init__(self):
        self.at = Reading(0.0, 0.0, 0.0)

    def passes(self, seconds, *, ours=0.0, others=0.0):
        """Processors that we and others keep busy for so long."""
        at = self.at
        self.at = Reading(
            at.clock + seconds,
            at.everyone + seconds * (ours + others),
            at.ours + seconds * ours,
        )

    def __call__(self):
        return self.at


def cores(clock, most=4, processors=4):
    return Cores(most, processors, clock)


@pytest.mark.parametrize(
    ("others", "threads"), [(0.0, 4), (0.4, 4), (0.6, 3), (1.0, 3), (2.1, 2), (4.0, 1), (9.0, 1)]
)
def test_others_are_left_what_they_use(others, threads):
    clock = Clock()
    found = cores(clock)
    clock.passes(0.5, ours=3.0, others=others)
    assert found.threads() == threads


def test_no_more_threads_than_allowed():
    clock = Clock()
    found = cores(clock, most=2, processors=16)
    clock.passes(1.0, others=3.0)
    assert found.threads() == 2


def test_a_glance_and_a_long_pause_change_nothing():
    clock = Clock()
    found = cores(clock)
    clock.passes(0.1, others=4.0)
    assert found.threads() == 4  # too short to tell
    clock.passes(1.0, others=2.0)
    assert found.threads() < 4
    clock.passes(60.0)
    assert found.threads() < 4  # a minute's average is not now
    clock.passes(0.5)
    assert found.threads() == 4


def test_the_load_is_found_out_before_what_must_not_be_disturbed(monkeypatch):
    clock = Clock()
    found = cores(clock)
    clock.passes(100.0, others=4.0)  # a pause, of which nothing follows
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.passes(seconds, others=2.0))
    found.watch()
    assert found.threads() == 2


def test_work_goes_on_with_what_fits_and_all_is_as_before():
    clock, seen = Clock(), []
    before = torch.get_num_threads()

    def work():
        for others in (0.0, 3.0, 0.0):
            seen.append(torch.get_num_threads())
            clock.passes(1.0, others=others)
            yield others

    assert list(cores(clock, most=3).fitted(work())) == [0.0, 3.0, 0.0]
    assert seen == [3, 3, 1]
    assert torch.get_num_threads() == before


def test_closing_the_work_restores_the_threads():
    before = torch.get_num_threads()
    run = cores(Clock(), most=before + 1).fitted(iter(range(5)))
    next(run)
    assert torch.get_num_threads() == before + 1
    run.close()
    assert torch.get_num_threads() == before


def test_a_machine_that_others_keep_busy_leaves_one_thread():
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(psutil.cpu_count())
    ]
    try:
        found = Cores(most=psutil.cpu_count())
        for _ in range(20):  # until all of them have started
            time.sleep(0.3)
            if found.threads() == 1:
                break
        assert found.threads() == 1
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("text", "processors"),
    [("200000 100000", 2), ("150000 100000\n", 2), ("10000 100000", 1), ("max 100000", 2**16)],
)
def test_a_containers_limit(tmp_path, text, processors):
    (tmp_path / "cpu.max").write_text(text)
    assert quota(tmp_path) == processors


@pytest.mark.parametrize(
    ("share", "processors"), [(200000, 2), (150000, 2), (10000, 1), (-1, 2**16)]
)
def test_a_containers_limit_in_the_first_version(tmp_path, share, processors):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{share}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert quota(tmp_path) == processors


def test_without_a_container_nothing_limits(tmp_path):
    assert quota(tmp_path) > 1000
