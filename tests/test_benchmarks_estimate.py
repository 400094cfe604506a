"""What the table of estimates is made of."""

from ldm.benchmarks.estimate import Row, requests
from ldm.requests import REQUESTS


def test_about_forty_requests_of_all_tasks():
    made = [request for _, request in requests()]
    assert 40 <= len(made) <= 45
    assert {request.task for request in made} == set(REQUESTS)


def test_errors_are_relative_to_what_it_took():
    row = Row("", expected_seconds=3.0, seconds=2.0, expected_memory=80, memory=100)
    assert row.errors == (-0.19999999999999996, 0.5)
