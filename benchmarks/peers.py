"""Checks claims about latentkit beside its peers, by running both; each claim has a name.

python benchmarks/peers.py [NAME ...]      all without a name; --list for the names
(peers: pip install captum==0.9.0 torchcam==0.5.0 grad-cam==1.5.7 pythae==0.1.2)

Prints what each side did, and writes benchmarks/peers.json with the peers' versions, from which
`benchmarks/page.py` makes the tables of docs/comparison.md. Two minutes of processor time. Of a
peer that is not installed, that is said, and what the JSON has of it stays.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import peers_ahead
import peers_maps
import peers_traces
import peers_training
import torch
from peers_outcome import Outcome, tried
from peers_sides import SIDES, installed

from latentkit import __version__
from latentkit.store import write_json

HERE = Path(__file__).parent
FILE = HERE / "peers.json"
TRIES = 3  # processes that `threads` is checked in: a race does not come each time
OTHERS = ("captum", "torchcam", "grad-cam", "pythae")
Sides = dict[str, Callable[[], Outcome]]


def of_each(check: Callable[[str], Outcome]) -> Sides:
    """The same check of each distribution."""
    packages = {"latentkit": "latentkit-lightning"} | {name: name for name in OTHERS}
    return {side: partial(check, package) for side, package in packages.items()}


def groups() -> dict[str, dict[str, tuple[str, Sides]]]:
    """All checks, by group and name: the claim, and what to run for each side."""
    maps = {
        name: (claim, {side: partial(check, run) for side, run in SIDES.items()})
        for name, (claim, check) in (peers_maps.CHECKS | peers_traces.CHECKS).items()
    }
    maps["threads"] = (
        maps["threads"][0],
        {side: partial(apart, "threads", side) for side in SIDES},
    )
    tools = {
        "command": ("A command, installed with the package", of_each(peers_ahead.command)),
        "needs": ("Asks for 8 other packages at most", of_each(peers_ahead.needs)),
    }
    return {
        "maps": maps,
        "training": peers_training.CHECKS,
        "tools": tools,
        "ahead": peers_ahead.CHECKS,
    }


def apart(name: str, side: str) -> Outcome:
    """The worst of some processes of their own: what is checked may bring one down."""
    command = [sys.executable, str(HERE / "peers.py"), name, "--alone", side]
    found = []
    for _ in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            found.append(Outcome(False, "the process crashed"))
        else:
            found.append(Outcome(**json.loads(done.stdout.splitlines()[-1])))
    crashed = sum(outcome.said == "the process crashed" for outcome in found)
    if crashed:
        return Outcome(False, f"{crashed} of {TRIES} processes crashed")
    return min(found, key=lambda outcome: (outcome.ok, outcome.said))


def run(name: str, claim: str, sides: Sides, versions: dict[str, str | None]) -> dict:
    """One check of all sides that are there, printed."""
    row: dict = {"claim": claim, "sides": {}}
    print(f"{name}: {claim}")
    for side, check in sides.items():
        if side != "latentkit" and versions[side] is None:
            print(f"  {side}: not installed")
            continue
        outcome = tried(check)
        version = __version__ if side == "latentkit" else versions[side]
        row["sides"][side] = {"version": version, "ok": outcome.ok, "said": outcome.said}
        print(f"  {side} {version}: {outcome.said}", flush=True)
    return row


def main() -> None:
    """Runs all checks or those that are named, and writes the JSON."""
    checks = {name: (g, *c) for g, found in groups().items() for name, c in found.items()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="see --list; all if none")
    parser.add_argument("--list", action="store_true", help="the names and claims")
    parser.add_argument("--alone", choices=SIDES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(checks)):
        parser.error(f"expected names of --list, got {', '.join(unknown)}")
    if chosen.list:
        print("\n".join(f"{name:16} {claim}" for name, (_, claim, _) in checks.items()))
        return
    quiet()
    if chosen.alone:
        print(json.dumps(vars(peers_traces.CHECKS[chosen.names[0]][1](SIDES[chosen.alone]))))
        return
    versions = installed()
    for name in chosen.names or checks:
        group, claim, sides = checks[name]
        row = run(name, claim, sides, versions)
        # Read anew each time, so that two processes may share the work.
        kept = json.loads(FILE.read_text()) if FILE.exists() else {}
        old = kept.get(group, {}).get(name, {}).get("sides", {})
        merged = old | row["sides"]
        row["sides"] = {side: merged[side] for side in sides if side in merged}
        rows = kept.get(group, {}) | {name: row}
        order = [known for known in groups()[group] if known in rows]
        kept |= {"torch": torch.__version__, group: {known: rows[known] for known in order}}
        write_json(FILE, kept)


def quiet() -> None:
    """One thread, and no remarks of Lightning, pythae and tqdm between the lines."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    os.environ["TQDM_DISABLE"] = "1"


if __name__ == "__main__":
    main()
