import pytest
import torch

from ldm.errors import RequestError
from ldm.inference import kernels
from ldm.runtime.device import (
    autocast,
    check_device_name,
    choose_device,
    choose_dtype,
    exact_float32,
)


def machine(monkeypatch, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"), [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, kind):
    machine(monkeypatch, cuda, mps)
    assert choose_device("auto").type == kind


def test_a_device_can_be_numbered(monkeypatch):
    machine(monkeypatch, cuda=2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device(torch.device("cuda:1")) == torch.device("cuda", 1)


@pytest.mark.parametrize(
    "name", ["gpu", "", "auto:0", "cuda:", "cuda:x", "cuda:-1", "CPU", 0, None]
)
def test_an_unknown_name_is_refused_with_the_choices(name):
    with pytest.raises(RequestError, match="device must be one of auto, cpu, cuda, mps, got"):
        check_device_name(name)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "cpu:1"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, name):
    machine(monkeypatch, cuda=2)
    with pytest.raises(RequestError, match=f"no device {name}; it has cpu, cuda"):
        choose_device(name)


def test_precision(monkeypatch):
    assert choose_dtype(torch.device("cpu")) is torch.float32
    assert choose_dtype(torch.device("mps")) is torch.float32
    for native, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert choose_dtype(torch.device("cuda")) is dtype


def test_bfloat16_that_is_only_imitated_is_told(monkeypatch, caplog):
    monkeypatch.setattr(kernels, "has_arithmetic", lambda dtype: True)
    assert choose_dtype(torch.device("cpu"), "bfloat16") is torch.bfloat16
    assert autocast(torch.device("cpu"))._enabled
    assert caplog.messages == []
    monkeypatch.setattr(kernels, "has_arithmetic", lambda dtype: False)
    assert choose_dtype(torch.device("cpu"), "bfloat16") is torch.bfloat16
    assert not autocast(torch.device("cpu"))._enabled
    assert caplog.messages == ["cpu only imitates bfloat16; float32 is faster."]


def test_float32_is_float32():
    torch.backends.cuda.matmul.allow_tf32 = True  # as other code may have left it
    exact_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
