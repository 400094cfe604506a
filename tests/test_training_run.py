"""What is refused before a run begins: nothing is drawn, nothing of a person's is written over."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldm.catalog import registry
from ldm.errors import LDMError
from ldm.training import run as training_run

TINY = Path(__file__).parent / "reference" / "tiny" / "uncond_kl_churches_ema"


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The sentence that a configuration is refused with; its folders are in `tmp_path`."""
    monkeypatch.setattr(training_run, "MAKERS", {})  # no run is made

    def refuse(kind="first_stage", preset="demo-kl-f4", data="", more=""):
        text = f"kind: {kind}\npreset: {preset}\nsteps: 1\nbatch_size: 2\n{more}\n"
        folders = f"runs: {tmp_path}/runs\ndata: {{folder: {tmp_path}/world{data}}}\n"
        (tmp_path / "run.yaml").write_text(text + folders)
        with pytest.raises(LDMError) as error:
            training_run.train(tmp_path / "run.yaml", replace=True)
        assert "\n" not in str(error.value)
        return str(error.value)

    return refuse


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": ", size: 66"}, "data.size must be a multiple of 4 px, got 66."),
        ({"data": ", crop: 33"}, "data.crop must be a multiple of 4 px, got 33."),
        ({"kind": "critic", "data": ", size: 72"}, "data.size must be a multiple of 16 px, got 72"),
        ({"kind": "latent_diffusion", "preset": "demo-inpaint", "data": ", size: 72"}, "of 16 px"),
        ({"preset": "kl-f4"}, "kl-f4 is not trained here: its file models/kl-f4/model.ckpt"),
        ({"preset": "demo-inpaint"}, "kind first_stage does not go with demo-inpaint"),
        ({"kind": "latent_diffusion"}, "kind latent_diffusion does not go with demo-kl-f4"),
        ({"kind": "preview", "preset": "demo-inpaint"}, "kind preview does not go with demo-inp"),
        ({"preset": "demo-kl-f5"}, "did you mean"),
        ({"more": "start_from: demo-kl-f5"}, "did you mean"),
    ],
)
def test_a_model_that_cannot_be_trained_is_told(refused, given, says):
    assert says in refused(**given)


def test_a_persons_own_weights_are_not_written_over(refused, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(TINY / "config.yaml", folder)
    (folder / "model.safetensors").write_bytes(b"mine")
    preset = registry.load_preset("mine", models_dir=tmp_path)
    monkeypatch.setattr(training_run, "load_preset", lambda name: preset)
    assert "mine is not trained here" in refused("latent_diffusion", "mine")
    assert (folder / "model.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["first_stage", "critic", "preview"])
def test_weights_that_are_there_are_written_over_only_if_told_to(tmp_path, monkeypatch, kind):
    began = []
    monkeypatch.setattr(
        training_run.importlib,
        "import_module",
        lambda name: SimpleNamespace(make_run=lambda config: began.append(config)),
    )
    monkeypatch.setattr(training_run, "train_loop", lambda *_, **about: None)
    text = f"kind: {kind}\npreset: demo-kl-f4\nsteps: 1\nbatch_size: 2\nruns: {tmp_path}/runs\n"
    (tmp_path / "run.yaml").write_text(f"{text}data: {{folder: {tmp_path}/world}}\n")
    with pytest.raises(
        LDMError, match="has weights already, .*; pass --replace to write over them"
    ):
        training_run.train(tmp_path / "run.yaml", resume=True)
    assert began == []
    training_run.train(tmp_path / "run.yaml", replace=True)
    (tmp_path / "runs" / "run" / "snapshot.pt").touch()  # they are this run's own by now
    training_run.train(str(tmp_path / "run.yaml"), resume=True)
    assert len(began) == 2


@pytest.mark.parametrize("name", ["runs", "world"])
def test_a_folder_that_cannot_be_written_is_told(refused, tmp_path, name):
    (tmp_path / name).touch()
    assert f"{tmp_path / name}" in (said := refused())
    assert "cannot be written" in said
