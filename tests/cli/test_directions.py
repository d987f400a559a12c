"""The groups, estimators, regions and conditions of `latentkit directions`."""

import numpy as np
import pytest
import torch
from PIL import Image

import latentkit
from latentkit.cli.named.regions import read_region
from latentkit.cli.named.sources import open_data
from latentkit.latent.attributes import attribute
from latentkit.latent.component_cones import bootstrap_pca, half_angles
from latentkit.latent.directions import sefa
from latentkit.latent.region import leakage
from latentkit.latent.report import direction_report
from latentkit.store import fingerprint, load_directions
from tests.cli.conftest import result
from tests.latent.dense import jacobian

ATTRIBUTE = ["--method", "attribute"]
OUT = "outputs/directions/directions.safetensors"


@pytest.fixture
def named(place, digits):
    """Digits in pairs: as they are, and darker under the same name with an addition."""
    images, labels = digits.split("train")[:60]
    pixels = (images[:, 0] * 255).byte().numpy()
    names = [f"digit {i}: of {k}" for i, k in enumerate(labels.tolist())]
    x = np.concatenate([pixels, pixels // 2])
    y = np.concatenate([labels.numpy()] * 2)
    np.savez(place / "named.npz", x=x, y=y, name=[*names, *(f"{n}, Dark" for n in names)])
    return place


@torch.no_grad()
def encoded(path, model="vae"):
    """Latents and names of the training part of an .npz."""
    data = open_data(path, {}, (1, 16, 16))
    images = data.split("train")[:][0]
    return latentkit.load(f"{model}.safetensors").encode(images), data.item_names("train")


def test_pairs_are_found_by_name(ok, named):
    """Only pairs with both images among the training images count."""
    words = ["--start", "without:dark", "--end", "name:, dark$", "--estimator", "paired"]
    said = ok("directions", "vae.safetensors", *ATTRIBUTE, *words, "--data", "named.npz")
    z, names = encoded("named.npz")
    pairs = [(names.index(n), names.index(f"{n}, Dark")) for n in names if f"{n}, Dark" in names]
    assert 30 < len(pairs) < 60
    start, end = (z[[pair[side] for pair in pairs]] for side in (0, 1))
    found = load_directions(OUT)
    expected = attribute(start, end, "paired")
    torch.testing.assert_close(found.vectors[0], expected, atol=1e-4, rtol=0)
    report = direction_report(start, end, "paired")
    assert found.uncertainty["sizes"] == [len(pairs), len(pairs)]
    assert found.uncertainty["p"] == report.p
    assert found.uncertainty["cone"]["half_angle"] == pytest.approx(report.cone.half_angle, abs=0.1)
    numbers = result(named / "outputs/directions/result.json")["numbers"]
    assert numbers["uncertainty"] == found.uncertainty
    assert numbers["cone_degrees"] == found.uncertainty["cone"]["half_angle"]
    for sentence in found.uncertainty["in_words"]:
        assert f"  {sentence}\n" in said
    assert "95 % bootstrap cone" in said
    assert found.names == ("without:dark to name:, dark$",)


@pytest.mark.parametrize("estimator", ["svm", "lda", "balanced"])
def test_every_estimator_has_its_error(ok, named, estimator):
    words = ["--start", "without:dark", "--end", "name:dark", "--estimator", estimator]
    ok("directions", "vae.safetensors", *ATTRIBUTE, *words, "--data", "named.npz")
    found = load_directions(OUT)
    assert found.uncertainty["method"] == estimator
    assert found.uncertainty["held_out"]["auc"] > 0.7
    assert 0 < found.uncertainty["p"] <= 0.05
    z, names = encoded("named.npz")
    dark = torch.tensor(["Dark" in name for name in names])
    labels = torch.tensor([int(name.split("of ")[1][0]) for name in names])
    strata = (labels[~dark], labels[dark]) if estimator == "balanced" else None
    expected = attribute(z[~dark], z[dark], estimator, strata=strata)
    torch.testing.assert_close(found.vectors[0], expected, atol=1e-3, rtol=0)


def test_attribute_columns_are_groups(ok, place):
    text = (
        "class_path: latentkit.data.shapes.Shapes\ninit_args: {count: 60, size: 16, val_count: 1}"
    )
    (place / "scenes.yaml").write_text(text)
    model = latentkit.models.vae.VAE((3, 16, 16), latent_dim=4, width=4, hidden=8)
    latentkit.save(model, "colour.safetensors", {})
    words = ["--start", "attribute:hue<0.5", "--end", "attribute:hue>0.5", "--data", "scenes.yaml"]
    ok("directions", "colour.safetensors", *ATTRIBUTE, *words)
    found = load_directions(OUT)
    assert sum(found.uncertainty["sizes"]) == 60
    assert 20 < found.uncertainty["sizes"][0] < 40


def test_a_group_of_one_image_says_nothing_of_the_error(typed, named):
    words = ["--start", "name:digit 1:.*dark", "--end", "name:digit (?!1:).*dark"]
    words += ["--data", "named.npz"]
    done = typed("directions", "vae.safetensors", *ATTRIBUTE, *words)
    assert done.code == 2
    assert "expected groups of 2 images or more" in done.err
    assert "got 1 in --start and 43 in --end" in done.err


def test_principal_components_have_cones(ok, place, digits):
    said = ok("directions", "vae.safetensors", "--count", 3)
    found = load_directions(OUT)
    with torch.no_grad():
        z = latentkit.load("vae.safetensors").encode(digits.split("train")[:][0])
    expected = half_angles(found.vectors, bootstrap_pca(z, 3)).tolist()
    assert found.uncertainty["cone_degrees"] == pytest.approx(expected, abs=0.1)
    assert f"pc 1: other images would turn it by up to {expected[0]:.0f} degrees" in said
    words = ["--directions", OUT, "--name", "pc 2", "--count", 1]
    ok("edit", "vae.safetensors", *words)
    known = result(place / "outputs/edit/result.json")["numbers"]["uncertainty"]
    assert known == {"cone_degrees": pytest.approx(expected[1], abs=0.1)}


def test_an_image_in_both_groups_is_refused(typed, named):
    words = ["--start", "name:digit [1-5]:", "--end", "name:dark", "--data", "named.npz"]
    done = typed("directions", "vae.safetensors", *ATTRIBUTE, *words)
    _, names = encoded("named.npz")
    count = sum(n.endswith("Dark") and n[6:8] in {f"{i}:" for i in range(1, 6)} for n in names)
    assert done.code == 2
    assert f"got {count} in both name:digit [1-5]: and name:dark: no statistic holds" in done.err
    assert "narrow one of them, as without:TEXT does against name:TEXT" in done.err


def test_a_file_that_is_in_two_folders_counts_in_neither_but_may_be_a_pair(ok, place, digits):
    for folder, chosen in (("a", range(9)), ("b", [*range(2), *range(22, 29)])):
        (place / folder).mkdir()
        for name, i in enumerate(chosen):
            pixels = (digits.split("train")[i : i + 1][0][0, 0] * 255).byte().numpy()
            Image.fromarray(pixels).save(place / folder / f"{name}.png")
    words = ["--start", "a", "--end", "b", "--estimator"]
    ok("directions", "vae.safetensors", *ATTRIBUTE, *words, "centroid")
    assert load_directions(OUT).uncertainty["sizes"] == [7, 7]
    ok("directions", "vae.safetensors", *ATTRIBUTE, *words, "paired")
    assert load_directions(OUT).uncertainty["sizes"] == [9, 9]


def test_a_picture_in_both_groups_counts_in_neither(ok, typed, place, digits):
    """Under two numbers, so that no narrower name could keep it out."""
    x = (digits.split("train")[:60][0][:, 0] * 255).byte().numpy()
    names = [f"{'left' if i % 2 else 'right'} {i}" for i in range(60)] + ["right 60", "right 61"]
    x = np.concatenate([x, x[[1, 3]]])
    np.savez(place / "twice.npz", x=x, name=names)
    words = ["--start", "name:left", "--end", "name:right", "--data", "twice.npz"]
    said = ok("directions", "vae.safetensors", *ATTRIBUTE, *words)
    z, used = encoded("twice.npz")
    pictures = open_data("twice.npz", {}, (1, 16, 16)).split("train")[:][0]
    left = torch.tensor(["left" in name for name in used])
    keys = [image.numpy().tobytes() for image in pictures]
    sides = [{k for k, flag in zip(keys, left, strict=True) if flag == side} for side in (0, 1)]
    both = sides[0] & sides[1]
    once = torch.tensor([key not in both for key in keys])
    assert 1 <= len(both) <= 2
    found = load_directions(OUT)
    assert found.uncertainty["sizes"] == [int((left & once).sum()), int((~left & once).sum())]
    assert f"{2 * len(both)} images were left out: their picture is in both groups" in said
    expected = attribute(z[left & once], z[~left & once])
    torch.testing.assert_close(found.vectors[0], expected, atol=1e-4, rtol=0)
    numbers = result(place / "outputs/directions/result.json")["numbers"]
    assert numbers["copies_left_out"] == 2 * len(both)


def test_few_images_are_warned_of(ok, named):
    words = ["--start", "name:digit [1-5]:", "--end", "name:digit [0-9]{2}:.*dark"]
    words += ["--data", "named.npz"]
    said = ok("directions", "vae.safetensors", *ATTRIBUTE, *words)
    assert "fewer than 10: the bootstrap cone is too narrow" in said
    assert len(load_directions(OUT).uncertainty["warnings"]) >= 1


def test_conditions_are_left_alone(ok, typed, named):
    ok("directions", "vae.safetensors", "--out", "pc.safetensors")
    words = ["--start", "without:dark", "--end", "name:dark", "--data", "named.npz"]
    conditions = ["--conditions", "pc.safetensors:pc 2", "pc.safetensors:pc 1"]
    ok("directions", "vae.safetensors", *ATTRIBUTE, *words, *conditions)
    found, given = load_directions(OUT), load_directions("pc.safetensors")
    assert (found.vectors @ given.vectors[:2].T).abs().max() < 1e-6
    assert (found.vectors @ given.vectors[2:].T).abs().max() > 1e-3
    assert found.provenance["conditions"] == conditions[1:]
    ok("directions", "vae.safetensors", "--method", "sefa", "--count", 2, "--conditions", OUT)
    again = load_directions(OUT)
    assert (again.vectors @ found.vectors.T).abs().max() < 1e-6
    for spec, message in [
        ("pc.safetensors:pc 9", "names no direction: pc has pc 1, pc 2, pc 3, pc 4"),
        ("pc.safetensors", "of 4 lies in it: nothing would be left"),
    ]:
        done = typed(
            "directions", "vae.safetensors", "--conditions", spec, "--out", "no.safetensors"
        )
        assert done.code == 2
        assert message in done.err
        assert not (named / "no.safetensors").exists()


def test_conditions_of_another_model_are_refused(ok, typed, place):
    ok("directions", "vae.safetensors", "--out", "d.safetensors")
    done = typed("directions", "vae_b.safetensors", "--conditions", "d.safetensors")
    assert done.code == 2
    for name in ("vae", "vae_b"):
        assert fingerprint(latentkit.load(f"{name}.safetensors")) in done.err
    assert not (place / "outputs").exists()


def test_sefa_factorises_the_first_layer(ok, place):
    ok("directions", "dcgan.safetensors", "--method", "sefa", "--count", 3)
    model = latentkit.load("dcgan.safetensors")
    first = next(m for m in model.generator.modules() if isinstance(m, torch.nn.Linear))
    expected = sefa(first.weight, 3)
    torch.testing.assert_close(load_directions(OUT).vectors, expected, atol=1e-4, rtol=0)
    assert load_directions(OUT).provenance["error"].startswith("none of sampling")
    words = ["--method", "sefa", "--count", 3, "--normalize", "true"]
    ok("directions", "dcgan.safetensors", *words)
    released = sefa(first.weight, 3, normalize=True)
    torch.testing.assert_close(load_directions(OUT).vectors, released, atol=1e-4, rtol=0)
    assert not torch.allclose(released, expected, atol=1e-2)


def test_the_jacobian_is_that_of_the_first_latent(ok, digits):
    ok("directions", "vae.safetensors", "--method", "jacobian", "--count", 2)
    model = latentkit.load("vae.safetensors")
    with torch.no_grad():
        z = model.encode(digits.split("train")[:1][0])
    expected = jacobian(model.decode, z, 2)
    cosine = (load_directions(OUT).vectors * expected).sum(1)
    torch.testing.assert_close(cosine, torch.ones(2), atol=1e-3, rtol=0)


def test_a_region_is_changed_more_than_the_rest_and_the_ratio_is_said(ok, place, digits):
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).resize((64, 64), 0).save("mask.png")
    model = latentkit.load("vae.safetensors")
    with torch.no_grad():
        z = model.encode(digits.split("train")[:1][0])
    for name in ("left", "center", "mask.png"):
        ok("directions", "vae.safetensors", "--method", "region", "--region", name, "--count", 1)
        mask = read_region(name, (1, 16, 16))
        assert 0 < mask.mean() <= 0.5
        ratio = leakage(model.decode, z, mask, load_directions(OUT).vectors).item()
        numbers = result(place / "outputs/directions/result.json")["numbers"]
        assert numbers["outside_over_inside"] == pytest.approx([ratio], rel=1e-3)
    assert torch.equal(mask[0], torch.eye(16))


def test_what_leaves_the_centre_is_outside():
    mask = read_region("center", (3, 8, 12))
    assert mask.shape == (1, 8, 12)
    assert mask[0, 2:6, 3:9].all()
    assert mask.sum() == 24


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--start", "name:zebra", "--end", "name:dark"],
            "name:zebra has no image among the first",
        ),
        (["--start", "name:(", "--end", "name:dark"], "'(' is no regular expression"),
        (
            ["--start", "name:digit 1$", "--end", "name:dark", "--estimator", "paired"],
            "name:digit 1$ has no image",
        ),
        (
            ["--start", "name:dark", "--end", "without:dark", "--estimator", "paired"],
            "no image of name:dark has a pair in without:dark",
        ),
    ],
)
def test_wrong_names(typed, named, words, message):
    done = typed("directions", "vae.safetensors", *ATTRIBUTE, *words, "--data", "named.npz")
    assert done.code == 2
    assert message in done.err
