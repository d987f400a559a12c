"""Disentanglement of VAEs of drawn scenes, whose factors are known: MIG, SAP, DCI and two votes.

python benchmarks/disentanglement.py

Trains configs/vae_shapes.yaml with three seeds (the runs of `directions.py` where they are there)
and asks `latentkit evaluate`. Writes benchmarks/disentanglement.json.
"""

from pathlib import Path

from directions import EPOCHS
from machine import machine
from options import parser
from runs import evaluate, fit, place, settings_of
from tables import every, made_on, table

from latentkit.store import write_json

HERE = Path(__file__).parent
NAME = "vae_shapes"
SCORES = {
    "mig": "mutual information gap (MIG)",
    "sap": "separated attribute predictability (SAP)",
    "dci_disentanglement": "DCI disentanglement",
    "dci_completeness": "DCI completeness",
    "dci_informativeness": "DCI informativeness",
    "factor_vae_score": "FactorVAE score",
    "beta_vae_score": "beta-VAE score",
    "active_units": "active units of 16",
}


def markdown(content: dict) -> list[str]:
    """The section of the page."""
    rows = content["rows"]
    found = {k: [row["numbers"][k] for row in rows] for k in SCORES}
    cells = [[label, every(found[key], 3)] for key, label in SCORES.items()]
    settings = rows[0]["settings"]
    return [
        "## Disentanglement",
        f"VAEs of drawn scenes with ten known factors, {content['epochs']} epochs of "
        f"`configs/{NAME}.yaml`, by `latentkit evaluate`: {settings['factor_scenes']:,} scenes, "
        f"{settings['factor_votes']:,} votes. Plain VAEs are not made to disentangle: this says "
        f"where a method that is starts from. {made_on(content['machine'])}",
        "`python benchmarks/disentanglement.py`",
        table(["score", f"seeds {', '.join(str(r['seed']) for r in rows)} (mean ± sd)"], cells),
    ]


def main() -> None:
    """Trains, measures and writes the JSON."""
    command = parser(__doc__, "runs", "seeds", "epochs")
    chosen = command.parse_args()
    rows, epochs = [], chosen.epochs or EPOCHS["vae"]
    for seed in chosen.seeds:
        run = fit(NAME, place(chosen.runs, NAME, seed, chosen.epochs), seed, epochs)
        found = evaluate(run)
        rows.append({"seed": seed, "numbers": found["numbers"], "settings": settings_of(found)})
    content = {"machine": machine(), "epochs": epochs, "rows": rows}
    write_json(HERE / "disentanglement.json", content)


if __name__ == "__main__":
    main()
