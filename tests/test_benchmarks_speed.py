"""What is compared is the same; the times themselves are no test."""

import importlib.util
import weakref

import pytest
import torch

from ldm.benchmarks import cuda, speed
from ldm.cli import main

KIND = "demo-kl-f4"


@pytest.fixture(autouse=True)
def _computes_in_bfloat16(monkeypatch):
    """Or imitates it: these are small."""
    monkeypatch.setattr(speed, "has_arithmetic", lambda dtype: True)


def test_what_the_processor_only_imitates_is_not_timed(monkeypatch):
    monkeypatch.setitem(speed.DECODES, KIND, 8)
    monkeypatch.setattr(speed, "has_arithmetic", lambda dtype: False)
    monkeypatch.setattr(speed, "least_seconds", lambda calls, *_: dict.fromkeys(calls, 0.5))
    *_, row = speed.table([KIND], against=False, rounds=1)
    assert row.split(" | ")[1:4] == ["500.0", "500.0", "-"]
    assert row.endswith("| - |")


def test_the_kinds_agree(monkeypatch):
    monkeypatch.setitem(speed.DECODES, KIND, 8)
    threads = torch.get_num_threads()
    got = speed.run(KIND, against=False, rounds=1)
    assert set(got.seconds) == {"plain float32", "float32", "bfloat16"}
    assert got.error < 1e-5
    assert got.psnr > 40
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")
@pytest.mark.parametrize("name", ["demo-text-to-image", "demo-semantic", KIND, "demo-vq-f4"])
def test_the_librarys_networks_are_ours(name, monkeypatch):
    """With the same weights they give the same, or the comparison would mean nothing."""
    monkeypatch.setitem(speed.DECODES, name, 8)
    if name in speed.STEPS:
        monkeypatch.setitem(speed.STEPS, name, (1, 8))
    with torch.inference_mode():
        kinds = speed.kinds_of(name, against=True)
        theirs, ours = (kinds[kind]()() for kind in ("diffusers float32", "plain float32"))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_kinds_that_do_not_fit_beside_each_other_come_one_by_one(monkeypatch):
    """Each is let go before the next is made."""
    monkeypatch.setitem(speed.DECODES, KIND, 8)
    monkeypatch.setattr(speed, "LARGE", (KIND,))
    alive, most, prepare = weakref.WeakSet(), [], speed.prepare

    def noted(network, dtype):
        made = prepare(network, dtype)
        alive.add(made)
        most.append(len(alive))
        return made

    monkeypatch.setattr(speed, "prepare", noted)
    got = speed.run(KIND, against=False, rounds=1)
    assert most == [1, 1]
    assert got.error < 1e-5


def test_an_unknown_model_is_refused(capsys):
    assert main(["bench", "speed", "--model", "none"]) == 2
    assert "--model must be one of demo-text-to-image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--samples"], "--batch, --search and --samples are for --device cuda, got cpu"),
        (["--batch", "8"], "--batch, --search and --samples are for --device cuda, got cpu"),
        (["--device", "cuda", "--batch", "0"], "--batch must be at least 1, got 0"),
    ],
)
def test_flags_without_meaning_are_refused(flags, words, capsys):
    assert main(["bench", "speed", *flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_cuda_it_says_so(capsys):
    assert main(["bench", "speed", "--device", "cuda"]) == 2
    assert "this machine has no device cuda" in capsys.readouterr().err


def test_a_kind_that_fails_on_cuda_does_not_stop_the_others(monkeypatch):
    seconds = iter([4.0, 2.0, RuntimeError("no kernel image | is available"), 1.0, 0.5])

    def measured(make, rounds):
        value = next(seconds)
        if isinstance(value, Exception):
            raise value
        return cuda.Measured(value, 3 * 2**20, torch.arange(4.0) + value / 1000, 1)

    monkeypatch.setattr(cuda, "_measured", measured)
    monkeypatch.setattr(cuda, "_free", lambda: None)
    subject = speed.Subject(None, None, None, None)
    lines = list(cuda._kinds_of("a step | 1", subject, cuda.Choice(against=True)))
    assert [line.split("|")[3].strip() for line in lines] == list(cuda._kinds(subject, True))
    assert "failed: RuntimeError: no kernel image / is available" in lines[2]
    assert lines[4].split("|")[4:7] == [" 500.000 ", " 4.00x ", " 59 "]
