"""Times are read between those that are known, and kept from one start to the next."""

from dataclasses import replace

import pytest

from ldm.canvas import calibration
from ldm.canvas.calibration import KEPT, LONGEST, Calibration, Rates, Store, calibrate
from ldm.canvas.plan import Canvas, Plan
from tests.test_canvas_plan import FACTS


def test_time_lies_between_the_known_ones():
    rates = Rates([(100.0, 1.0), (10000.0, 50.0)])
    assert rates.seconds(100) == pytest.approx(1)
    assert rates.seconds(10000) == pytest.approx(50)
    assert rates.seconds(20000) == pytest.approx(100)
    assert 1 < rates.seconds(1000) < 50
    assert Rates().seconds(5) is None


def test_new_times_of_the_same_work_are_averaged():
    rates = Rates([(100.0, 1.0)])
    rates.learn(110.0, 1.98)
    assert len(rates.times) == 1
    assert rates.seconds(110) == pytest.approx(0.5 * (1.98 + 1.1))
    rates.learn(1000.0, 3.0)
    assert len(rates.times) == 2


def test_one_slow_run_hardly_counts_but_several_do():
    rates = Rates([(100.0, 1.0)])
    rates.learn(100.0, 5.0)
    assert 1 < rates.seconds(100) < 1.7
    for _ in range(5):
        rates.learn(100.0, 5.0)
    assert rates.seconds(100) > 3.5


def test_the_oldest_measurements_go():
    rates = Rates()
    for power in range(KEPT + 1, 1, -1):
        rates.learn(10.0**power, 1.0)
    rates.learn(10.0, 5.0)  # the smallest work of all, after much larger ones
    assert len(rates.times) == KEPT
    assert rates.seconds(10) == pytest.approx(5)
    assert 10.0 ** (KEPT + 1) not in dict(rates.times)


def test_a_canvas_takes_its_steps_and_its_decodes():
    work = FACTS.decoder_work
    facts = replace(FACTS, unet_work=work, guided_work=work.times(1.5))
    known = Calibration(facts, {part: Rates([(8e6, 2.0)]) for part in ("unet", "decoder")})
    canvas = Canvas(8, 8, count=3, passes=2)
    # two batches, of two and of one: 10 steps of 2 s per 8e6 operations
    want = 10 * (2 * 1.5 * 64 + 1.5 * 64) * 2.0 + 3 * 64 * 2.0
    assert known.seconds(canvas, 10, Plan("whole", 2)) == pytest.approx(want)
    assert Calibration(facts, {}).seconds(canvas, 10, Plan("whole", 2)) is None


def test_the_rest_is_assumed_until_it_is_known():
    known = Calibration(FACTS, {})
    assert 0.02 < known.rest(128 * 128) < known.rest(1024 * 1024) < 0.5
    known.learn("rest", 1024 * 1024, 2.0)
    assert known.rest(1024 * 1024) == pytest.approx(2.0)


def test_a_part_that_all_models_share_is_known_from_any_of_them():
    store = Store(None)
    assert store.times("rest").seconds(100) is None
    store.put("a", Calibration(FACTS, {"rest": Rates([(100.0, 1.0)]), "unet": Rates([(1.0, 9.0)])}))
    store.put("b", Calibration(FACTS, {"rest": Rates([(105.0, 1.89), (900.0, 5.0)])}))
    assert store.times("rest").times == [(105.0, pytest.approx(1.47)), (900.0, 5.0)]
    assert store.get("a").rates["rest"].times == [(100.0, 1.0)]


def test_what_is_known_survives_and_a_broken_file_does_no_harm(tmp_path):
    path = tmp_path / "deep" / "machine.json"
    known = Calibration(FACTS, {"unet": Rates([(1.0, 2.0)])})
    Store(path).put("a", known)
    assert Store(path).get("a") == known
    assert Store(path).get("b") is None
    for text in ("{", "[]", '{"a": {"facts": {}}}', '{"a": 3}'):
        path.write_text(text)
        assert Store(path).get("a") is None


def sides_timed(monkeypatch, seconds_per_cell):
    """The sides of the squares on which a UNet of this speed is timed."""
    sides = []

    def run(side):
        sides.append(side)

    def timed(call):
        call()
        return seconds_per_cell * sides[-1] ** 2

    monkeypatch.setattr(calibration, "_time", timed)
    made = calibrate(FACTS, {"unet": run}, 16)
    assert made.rates["unet"].times == [
        (FACTS.operations("unet", 1, side**2), seconds_per_cell * side**2) for side in sides
    ]
    return sides


def test_the_fast_are_timed_on_larger_squares_than_the_slow(monkeypatch):
    assert sides_timed(monkeypatch, 1e-6) == [16, 32, 64]
    assert sides_timed(monkeypatch, 1.5 * LONGEST / 32**2) == [16, 32]
    assert sides_timed(monkeypatch, 1.0) == [16]
