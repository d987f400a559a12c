"""SIGKILL at a random moment, then `--ckpt_path last`: the run ends as if nothing had happened."""

import pytest
import torch

from latentkit.cli.training.checkpoints import find_checkpoint
from tests.cli.killed import (
    EPOCHS,
    OFTEN,
    WARMUP,
    WORDS,
    compared,
    finish,
    kill,
    trial,
    write_configs,
)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Name -> the folder of its uninterrupted run."""
    folder = tmp_path_factory.mktemp("wholes")
    write_configs(folder)

    def whole(name):
        run = folder / "checkpoints" / name / "version_0"
        if not run.exists():
            finish(folder, "fit", "--config", f"{name}.yaml", *WORDS)
        return run

    return whole


@pytest.mark.parametrize("name", ["vae", pytest.param("warming", marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_an_uninterrupted_one(wholes, tmp_path, name):
    found = [trial(tmp_path / f"{k}", wholes(name), name, k, 2) for k in range(2)]
    assert [wrong for wrong, _ in found] == [""] * 2
    (_, early), (_, late) = found
    assert early >= 0
    assert early < late or late == -1  # on a busy machine it may have ended before the kill


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["vae", "clustergan"])
def test_so_do_twenty(wholes, tmp_path, name):
    found = [trial(tmp_path / f"{k}", wholes(name), name, k, 20) for k in range(20)]
    assert [wrong for wrong, _ in found] == [""] * 20
    epochs = {epoch for _, epoch in found}
    assert len(epochs - {-1, EPOCHS}) >= EPOCHS - 1
    assert max(epochs) >= EPOCHS - 1


def test_a_warm_up_ends_within_the_run(wholes):
    content = torch.load(wholes("warming") / "last.ckpt", weights_only=True)
    assert int(content["state_dict"]["iteration"]) > WARMUP
    assert content["state_dict"]["adopted"]
    assert content["hyper_parameters"]["warmup"] == WARMUP


def middle(folder):
    """Kills a VAE's run until it was in the middle of an epoch; gives its newest checkpoint."""
    words = ("fit", "--config", "vae.yaml", *WORDS, *OFTEN)
    for k in range(20):
        place = folder / f"{k}"
        place.mkdir()
        write_configs(place)
        kill(place, "vae", 20 + 5 * k, 0.0, *words)
        path = place / "checkpoints/vae/version_0/last.ckpt"
        content = torch.load(path, weights_only=True)
        (place_in_epoch,) = content["loops"]["fit_loop"]["state_dict"]["combined_loader"]
        if 0 < place_in_epoch["given"] < 18:
            return place, path, content
    raise AssertionError("no kill fell into an epoch")


def test_the_comparison_sees_a_lost_place_in_the_epoch(wholes, tmp_path):
    """The negative control: without it the batches before the kill are seen twice."""
    place, path, content = middle(tmp_path)
    content["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["given"] = 0
    torch.save(content, path)
    finish(place, "fit", "--config", "vae.yaml", *WORDS, "--ckpt_path", "last")
    wrong = compared(path.parent, wholes("vae"))
    assert any("state_dict/model" in w for w in wrong)
    assert any("train/loss" in w for w in wrong)


def test_a_truncated_checkpoint_gives_way_to_the_one_before(wholes, tmp_path, capsys):
    place, path, _ = middle(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    previous = path.with_name("previous.ckpt")
    assert find_checkpoint("last", path.parents[1]) == previous
    assert f"going on from {previous}, the one before" in capsys.readouterr().err
    finish(place, "fit", "--config", "vae.yaml", *WORDS, "--ckpt_path", "last")
    assert compared(path.parent, wholes("vae")) == []
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("name", ["vae", pytest.param("clustergan", marks=pytest.mark.slow)])
def test_a_run_killed_in_its_first_epoch_starts_again_from_the_first_checkpoint(
    wholes, tmp_path, name
):
    write_configs(tmp_path)
    words = ("fit", "--config", f"{name}.yaml", *WORDS)
    kill(tmp_path, name, 0, 0.0, *words)  # the checkpoint of the untrained model is there, no other
    run = tmp_path / "checkpoints" / name / "version_0"
    saved = torch.load(run / "last.ckpt", weights_only=True)
    assert int(saved["state_dict"]["iteration"]) == 0
    finish(tmp_path, *words, "--ckpt_path", "last")
    assert compared(run, wholes(name)) == []
