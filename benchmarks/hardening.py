"""Runs commands with mutated configs, mutated options and damaged files, and counts what happens.

python benchmarks/hardening.py --configs 10000 --files 2000

Every case runs `latentkit` in this process, within bounds of time and memory, and must end with
exit code 0, or with exit code 2, one clear line and nothing left behind; no process is started, no
connection opened and no code of a file run (see `tests/hardening`). The cases are drawn by
hypothesis, no two of them alike. Of the first number 2 % are trainings with a mutated
config, 30 % data configs, the others command lines. Writes benchmarks/hardening.json.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # the cases are the tests' own

from machine import machine  # noqa: E402

from latentkit.store import write_json  # noqa: E402
from tests.hardening.attempt import Case, Outcome, attempt  # noqa: E402
from tests.hardening.configs import data_cases, training_cases  # noqa: E402
from tests.hardening.damaged import file_cases  # noqa: E402
from tests.hardening.lines import command_cases  # noqa: E402
from tests.hardening.world import build  # noqa: E402

_PART = 100  # cases drawn with one seed


class Counts:
    """What happened, by the kind of the change."""

    def __init__(self) -> None:
        self.kinds: dict[str, Counter[str]] = {}
        self.seen: set[Case] = set()
        self.faults: list[dict[str, Any]] = []
        self.seconds, self.megabytes = [0.0], [0.0]

    def add(self, case: Case, outcome: Outcome) -> None:
        """Counts a case, and says what is wrong with it."""
        what = {0: "done", 2: "refused"}.get(outcome.code or 0, "other")
        what = "at fault" if outcome.faults else what
        self.kinds.setdefault(case.kind, Counter())[what] += 1
        self.seconds.append(outcome.seconds)
        self.megabytes.append(outcome.megabytes)
        if outcome.faults:
            print(case.kind, case.argv, case.files, *outcome.faults, sep="\n  ", flush=True)
            words = " ".join(case.argv)
            self.faults.append({"kind": case.kind, "command": words, "faults": outcome.faults})


def run(cases: Any, wanted: int, seed: int, world: Path, counts: Counts) -> None:
    """Runs up to `wanted` different cases, drawn with one seed."""
    end = len(counts.seen) + wanted

    @settings(
        max_examples=_PART,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def part(case: Case) -> None:
        if case not in counts.seen and len(counts.seen) < end:
            counts.seen.add(case)
            counts.add(case, attempt(case, world))

    seeded(seed)(part)()


def table(counts: Counts) -> dict[str, Any]:
    """For the JSON: by kind, and in all."""
    total: Counter[str] = sum(counts.kinds.values(), Counter())
    return {
        "cases": len(counts.seen),
        "in_all": dict(total),
        "slowest_seconds": max(counts.seconds),
        "mean_seconds": sum(counts.seconds) / max(len(counts.seen), 1),
        "most_megabytes": max(counts.megabytes),
        "kinds": {kind: dict(found) for kind, found in sorted(counts.kinds.items())},
        "at_fault": counts.faults,
    }


def main() -> None:
    """Runs everything and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", type=int, default=10_000, help="configs and command lines")
    parser.add_argument("--files", type=int, default=2_000, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    trainings, datas = chosen.configs // 50, 3 * chosen.configs // 10
    with tempfile.TemporaryDirectory() as name:
        world = build(Path(name))
        parts: dict[str, list[tuple[Any, int]]] = {
            "files": [(file_cases(world), chosen.files)],
            "configs": [
                (training_cases(), trainings),
                (data_cases(), datas),
                *[(command_cases(), (chosen.configs - trainings - datas) // 2)] * 2,
            ],
        }
        about = {"machine": machine(), "wanted": vars(chosen)}
        counts = {part: Counts() for part in parts}
        seed, left = chosen.seed, [[part, *pair] for part in parts for pair in parts[part]]
        while any(wanted for _, _, wanted in left):
            seed += 1
            for turn in left:  # of every kind a part, so that a run that is stopped has seen all
                part, strategy, wanted = turn
                before = len(counts[part].seen)
                run(strategy, min(wanted, _PART), seed, world, counts[part])
                turn[2] -= len(counts[part].seen) - before
            found = {part: table(counts[part]) for part in parts}
            print({part: found[part]["in_all"] for part in parts}, flush=True)
            write_json(HERE / "hardening.json", {**about, **found})


if __name__ == "__main__":
    main()
