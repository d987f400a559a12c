"""The page of benchmarks says what the JSON beside it says, goals that were missed included."""

import json
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_the_page_is_made_of_the_json_beside_it(script):
    assert script("page").page() == (FOLDER / "README.md").read_text(), "run benchmarks/page.py"


def test_goals_are_met_or_missed(script):
    verdict = script("tables").verdict
    assert verdict(0.96, 0.75) == "at most 0.75: **missed**"
    assert verdict(0.75, 0.75) == "at most 0.75: met"
    assert verdict(0.96, 0.95, least=True) == "at least 0.95: met"
    assert verdict(0.94, 0.95, least=True) == "at least 0.95: **missed**"


def test_a_vae_has_its_table(script):
    content = json.loads((FOLDER / "quality.json").read_text())
    test = {
        "negative_elbo_nats": 97.8,
        "iwae_log_likelihood_nats": -94.25,
        "kl_nats": 23.0,
        "active_units": 16,
        "mse": 0.0082,
        "mse_of_pca_of_equal_size": 0.027,
    }
    row = {"config": "vae_mnist", "seed": 5, "epochs": 7, "iteration": 3003, "cpu_seconds": 90}
    others = content["rows"]
    mine = {**row, "test": test, "machine": others[0]["machine"], "floor": others[0]["floor"]}
    content["rows"] = [mine, *(r for r in others if r["config"] != "vae_mnist")]
    text = "\n".join(script("page_quality").quality(content))
    assert "`python benchmarks/quality.py vae_mnist --epochs 7`" in text
    assert "| -ELBO, nats | 97.80 (**97.80**) |" in text
    assert "| KL, nats | 23.00 (**23.00**) |" in text
    assert "| active units | 16 | of 16 |" in text
    assert "| squared error | 0.0082 (**0.0082**) | PCA, 16 numbers: 0.0270 |" in text


def test_sides_take_turns_and_the_ratio_is_that_of_the_rounds(script):
    order, ours, theirs = [], iter([2.0, 8.0, 3.0]), iter([1.0, 2.0, 2.0])

    def side(name, values):
        return lambda: order.append(name) or next(values)

    row = script("paired").paired(side("ours", ours), side("theirs", theirs), rounds=3)
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert row == {
        "ours_ms": 3000,
        "theirs_ms": 2000,
        "ratio": 2.0,
        "ratio_min": 1.5,
        "ratio_max": 4.0,
        "rounds": 3,
    }
