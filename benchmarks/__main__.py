"""Runs the measurements, one after the other, and writes the pages made of them.

python benchmarks [PART ...]       all parts without a name; --list for the names

Each part is a script of this folder. What a part has ended is noted in benchmarks/runs, so that the
same command goes on after an interruption; `--again` measures anew (trainings that lie in
benchmarks/runs are used again: remove them to repeat them, too). At the end benchmarks/README.md
and the tables of docs/comparison.md are written. `--quick` tries the parts that have a short form,
on a copy in benchmarks/runs/quick: it shows that they run, its numbers mean nothing. Ratios bear
other work on the machine; hours need patience, mostly `quality` and `directions`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = "--root {root}"


@dataclass(frozen=True)
class Part:
    """Some commands of one script.

    Attributes:
        about: what is measured.
        commands: arguments of each run of the script, by their words.
        quick: the same in a short form; None where there is none.
    """

    about: str
    commands: tuple[str, ...] = ("",)
    quick: tuple[str, ...] | None = None


PARTS = {
    "hardening": Part(
        "mutated configs and commands, damaged files", quick=("--configs 20 --files 10",)
    ),
    "peers": Part("claims beside other tools", quick=("plain in-place resume",)),
    "cam": Part("time and memory of heatmaps", quick=("--parts latents flat",)),
    "operations": Part("what wrapping a network costs", (DATA,), (f"{DATA} --rounds 1",)),
    "training": Part(
        "training steps beside bare loops and pythae",
        (
            f"{DATA} --parts bare_loop --rounds 9",
            f"{DATA} --parts pythae_vae --rounds 21 --steps 110",
            f"{DATA} --parts data_feeding --rounds 9",
            f"{DATA} --parts options",
        ),
        (f"{DATA} --parts bare_loop pythae_vae data_feeding --rounds 1 --steps 12",),
    ),
    "callbacks": Part(
        "the cost of what is drawn and measured in a training",
        (DATA,),
        (f"{DATA} --steps 12 --rounds 1",),
    ),
    "likelihood": Part(
        "held-out likelihood in equal time beside pythae",
        (DATA,),
        (f"{DATA} --seconds 2 --seeds 0 1",),
    ),
    "samplers": Part("samplers of latents", (DATA,)),
    "augmentation": Part("classifiers with few images", (DATA,)),
    "disentanglement": Part("VAEs of scenes with known factors", quick=("--seeds 0 --epochs 1",)),
    "encoders": Part(
        "an encoder for a generator without one",
        quick=("--epochs 1 --weights 1 --steps 20 --images 5",),
    ),
    "directions": Part(
        "DirBench: are heatmaps of directions faithful?",
        ("oracle autoencoder vae clustergan", "dcgan --steps 5000"),
        ("vae dcgan --seeds 0 --epochs 1 --steps 20 --images 5",),
    ),
    "quality": Part(
        "the shipped configs with three seeds",
        (
            f"autoencoder_mnist --epochs 5 {DATA}",
            f"vae_mnist {DATA}",
            f"dcgan_mnist --epochs 10 {DATA}",
            f"clustergan_mnist clustergan_paper {DATA}",
        ),
        (f"autoencoder_mnist --epochs 1 --seeds 0 {DATA}",),
    ),
}


def lines(names: list[str], quick: bool) -> list[tuple[str, list[str]]]:
    """The part and the words of each command, in order."""
    found = []
    for name in names:
        part = PARTS[name]
        for words in (part.quick or ()) if quick else part.commands:
            found.append((name, [f"{name}.py", *words.split()]))
    return found


def copy_for_trying() -> Path:
    """A folder with the scripts and what they read, to be overwritten."""
    work = HERE / "runs" / "quick"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(HERE, work / "benchmarks", ignore=shutil.ignore_patterns("runs", "__pycache__"))
    shutil.copytree(HERE.parent / "docs", work / "docs")
    for name in ("configs", "checkpoints"):
        (work / name).symlink_to(HERE.parent / name)
    return work / "benchmarks"


def measure(todo: list[tuple[str, list[str]]], folder: Path, root: Path, notes: Path) -> None:
    """Runs what is not noted yet, and notes it."""
    done = json.loads(notes.read_text()) if notes.exists() else {}
    for i, (_, words) in enumerate(todo):
        line, count = " ".join(words), f"[{i + 1}/{len(todo)}]"
        if line in done:
            print(f"{count} {line}: done before, in {done[line] / 60:.0f} min; --again repeats it")
            continue
        print(f"{count} python benchmarks/{line.format(root=root)}", flush=True)
        start = time.perf_counter()
        command = [str(folder / words[0]), *(word.format(root=root) for word in words[1:])]
        ended = subprocess.run([sys.executable, *command], cwd=folder.parent, check=False)
        if ended.returncode:
            raise SystemExit(f"{words[0]} failed (see above); correct that and repeat the command")
        done[line] = time.perf_counter() - start
        print(f"{count} took {done[line] / 60:.1f} min", flush=True)
        notes.parent.mkdir(exist_ok=True)
        notes.write_text(json.dumps(done, indent=1))


def main(argv: list[str] | None = None) -> None:
    """Measures, and writes the pages."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="see --list; all if none")
    parser.add_argument("--list", action="store_true", help="the parts and their commands")
    parser.add_argument("--quick", action="store_true", help="short forms, on a copy")
    parser.add_argument("--again", action="store_true", help="also what was done before")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of MNIST")
    chosen = parser.parse_args(argv)
    if unknown := [name for name in chosen.parts if name not in PARTS]:
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(unknown)}")
    names = chosen.parts or list(PARTS)
    todo = lines(names, chosen.quick)
    if chosen.list:
        for name in names:
            print(f"{name}: {PARTS[name].about}")
            for line in (" ".join(words) for part, words in todo if part == name):
                print(f"  python benchmarks/{line.format(root=chosen.root)}")
        return
    folder = copy_for_trying() if chosen.quick else HERE
    notes = folder / "runs" / "done.json"
    if chosen.again and not chosen.quick:  # the copy knows of nothing done
        forget(names, todo, notes)
    measure(todo, folder, chosen.root.resolve(), notes)
    subprocess.run([sys.executable, str(folder / "page.py")], check=True)
    print(f"written: {folder / 'README.md'}, {folder.parent / 'docs' / 'comparison.md'}")


def forget(names: list[str], todo: list[tuple[str, list[str]]], notes: Path) -> None:
    """Lets the parts be measured anew: the notes, and rows that would not be repeated."""
    if notes.exists():
        lost = {" ".join(words) for _, words in todo}
        kept = {k: v for k, v in json.loads(notes.read_text()).items() if k not in lost}
        notes.write_text(json.dumps(kept, indent=1))
    if "quality" in names:  # the one script that skips rows of its JSON
        (HERE / "quality.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
