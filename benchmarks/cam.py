"""Times class activation maps and their memory against the least that they can cost, and peers.

python benchmarks/cam.py      (peers: pip install grad-cam==1.5.7 torchcam==0.5.0 captum==0.9.0)

The bound: the layer's activation is computed without a graph and made a leaf, the rest of the
network runs on it, the gradient goes to the leaf only, then the formula and one interpolation: no
hook, no check. The bars: at most 1.10 of the bound's time, at most 1.3 of the memory growth of a
plain forward pass, all K latent maps at least 5 times as fast as the best peer, and memory that is
flat over 100 calls. Both sides of a ratio run in turn within one process, by processor time; the
ratio is the median over the rounds, with the smallest and the largest beside it. Memory is the peak
of a process of its own above what it held after a first forward pass. Writes benchmarks/cam.json.

All K maps: torchcam 0.5.0 stops at the layer as we do, K times. Its K products with N rows each
wait for the weights to be read, our one product with K N rows for arithmetic; so on one thread the
advantage grows with K and falls with N, and it cannot pass the peer's time over the bound's.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cam_peers
import torch
from machine import machine
from options import parser
from paired import paired
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from latentkit.explain.cam import cam, latent_cams
from latentkit.explain.scores import logit
from latentkit.store import write_json

HERE = Path(__file__).parent
METHODS = ("grad-cam", "grad-cam++")
PICTURES = (16, 3, 224, 224)
Call = Callable[[], Any]


# --- what is run


def network() -> tuple[nn.Module, Tensor]:
    """A resnet18 with random weights and a batch of noise."""
    torch.manual_seed(0)
    return resnet18(weights=None).eval(), torch.randn(PICTURES)


def encoder(units: int = 16) -> nn.Sequential:
    """An encoder like DCGAN's discriminator, 3x64x64 -> K; its last convolution is layer "4"."""
    torch.manual_seed(0)
    sizes, layers = (3, 32, 64, 128), []
    for inside, outside in pairwise(sizes):
        layers += [nn.Conv2d(inside, outside, 4, 2, 1), nn.LeakyReLU(0.2)]
    head = [nn.Flatten(), nn.Linear(128 * 8 * 8, 256), nn.LeakyReLU(0.2), nn.Linear(256, units)]
    return nn.Sequential(*layers, *head).eval()


def split(net: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """A resnet18 up to a block, and the rest of it."""
    parts = dict(net.named_children())
    at = list(parts).index(layer) + 1
    tail = [*parts.values()][at:]
    return nn.Sequential(*list(parts.values())[:at]), nn.Sequential(
        *tail[:-1], nn.Flatten(), tail[-1]
    )


def bound(method: str, front: nn.Module, back: nn.Module, x: Tensor) -> Tensor:
    """The least that one map can cost, at the size of the pictures."""
    with torch.no_grad():
        a = front(x)
    a.requires_grad_()
    (g,) = torch.autograd.grad(back(a)[:, cam_peers.CLASS].sum(), a)
    a = a.detach()
    if method == "grad-cam":
        weights = g.mean((2, 3), keepdim=True)
    else:
        total = a.sum((2, 3), keepdim=True)
        weights = (g.relu() / (2 + g * total)).sum((2, 3), keepdim=True)
    maps = (weights * a).sum(1, keepdim=True).relu()
    return functional.interpolate(maps, x.shape[2:], mode="bilinear")[:, 0]


def bound_of_all(net: nn.Sequential, x: Tensor, units: int) -> Tensor:
    """The least that the maps of all units can cost: one batched vector-Jacobian product."""
    with torch.no_grad():
        a = net[:5](x)
    a.requires_grad_()
    seeds = torch.eye(units)[:, None].expand(-1, len(x), -1)
    (g,) = torch.autograd.grad(net[5:](a), a, seeds, is_grads_batched=True)
    return torch.einsum("knc,nchw->nkhw", g.mean((3, 4)), a.detach())


def ours(method: Any, net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """Our map at the size of the pictures."""
    score = logit(cam_peers.CLASS)
    return cam(net, layer, x, score, method).relu().resized(x.shape[2:]).raw


def plain(net: nn.Module, x: Tensor) -> Tensor:
    """A forward pass without gradients."""
    with torch.no_grad():
        return net(x)


def calls(peers: dict[str, str], layer: str) -> dict[str, Call]:
    """All that is measured on the resnet, by name."""
    net, x = network()
    front, back = split(net, layer)
    found: dict[str, Call] = {"plain forward": partial(plain, net, x)}
    for method in METHODS:
        found[f"bound, {method}"] = partial(bound, method, front, back, x)
        found[f"latentkit, {method}"] = partial(ours, method, net, layer, x)
    return found | cam_peers.one(peers, net, layer, x)


# --- how it is measured


def seconds(run: Call) -> float:
    """Processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def beside(measured: Call, other: Call, rounds: int) -> dict:
    """Milliseconds of both, once both are warm, and their ratio."""
    measured()
    other()
    row = paired(partial(seconds, measured), partial(seconds, other), rounds)
    kept = {key: row[key] for key in ("ratio", "ratio_min", "ratio_max")}
    return {"ms": row["ours_ms"], "beside_ms": row["theirs_ms"], **kept}


def times(peers: dict[str, str], rounds: int) -> dict:
    """Processor time over the bound's, for one map a picture of two layers."""
    rows: dict[str, dict] = {}
    for layer in ("layer4", "layer2"):
        for name, call in (found := calls(peers if layer == "layer4" else {}, layer)).items():
            if name.startswith("bound"):
                continue
            method = name.split(", ")[-1] if ", " in name else METHODS[0]
            if name.startswith("latentkit"):
                torch.testing.assert_close(call(), found[f"bound, {method}"]())
            row = beside(call, found[f"bound, {method}"], rounds)
            rows[f"{layer}: {name}"] = row | ({"bar": 1.10} if "latentkit" in name else {})
            print("time", layer, name, json.dumps(row), flush=True)
    return rows


def latents(peers: dict[str, str], rounds: int) -> dict:
    """Processor time of the maps of all K units over ours, for N pictures at once."""
    rows = {}
    for batch, units in ((4, 16), (1, 16), (1, 64)):
        net, x, case = encoder(units), torch.randn(batch, 3, 64, 64), f"N={batch}, K={units}"
        mine = partial(latent_cams, net, "4", x)
        theirs = cam_peers.every(peers, net, "4", x, units)
        torch.testing.assert_close(mine(), bound_of_all(net, x, units))
        for name in set(theirs) - {"pytorch-grad-cam"}:  # that one has no raw maps
            signed = mine() if name == "captum" else mine().relu()
            torch.testing.assert_close(theirs[name](), signed)
        least = {"plain forward": partial(plain, net, x)}
        least["bound"] = partial(bound_of_all, net, x, units)
        for name, call in (theirs | least).items():
            rows[f"{case}: {name}"] = beside(call, mine, rounds)
            print("latents", case, name, json.dumps(rows[f"{case}: {name}"]), flush=True)
        if theirs:
            best = min(theirs, key=lambda name: rows[f"{case}: {name}"]["ratio"])
            rows[f"{case}: best peer"] = rows[f"{case}: {best}"] | {"peer": best, "bar": 5}
    return rows


def megabytes(key: str) -> float:
    """A line of /proc/self/status."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(key)) / 1024


def peak(name: str) -> None:
    """Prints by how many MiB one call of `name` raises this process, after a forward pass."""
    net, x = network()
    run = calls(cam_peers.installed(), "layer4")[name]
    plain(net, x)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = megabytes("VmRSS")
    run()
    print(megabytes("VmHWM") - start)


def memory(peers: dict[str, str], rounds: int) -> dict:
    """Peak growth in MiB of each call, and over that of a plain forward pass."""
    grown: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in calls(peers, "layer4"):
            command = [sys.executable, __file__, "--peak", name, "--threads"]
            command.append(str(torch.get_num_threads()))
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            grown.setdefault(name, []).append(float(done.stdout.split()[-1]))
    least = statistics.median(grown["plain forward"])
    rows = {}
    for name, each in grown.items():
        row = {"mib": statistics.median(each), "mib_min": min(each), "mib_max": max(each)}
        rows[name] = row | {"ratio": row["mib"] / least}
        rows[name] |= {"bar": 1.3} if "latentkit" in name else {}
        print("memory", name, json.dumps(rows[name]), flush=True)
    return rows


def flat(_peers: dict[str, str], _rounds: int) -> dict:
    """Growth in MiB over 100 calls, after 10 that are not counted, small pictures."""
    net, rows = network()[0], {}
    x = torch.randn(4, 3, 64, 64)
    tries: dict[str, Call] = {m: partial(ours, m, net, "layer1", x) for m in METHODS}
    tries["latent_cams"] = partial(latent_cams, encoder(), "4", x)
    for name, call in tries.items():
        for _ in range(10):
            call()
        start = megabytes("VmRSS")
        for _ in range(100):
            call()
        rows[name] = {"mib": megabytes("VmRSS") - start, "calls": 100}
        print("flat", name, json.dumps(rows[name]), flush=True)
    return rows


PARTS: dict[str, tuple[Callable[[dict[str, str], int], dict], int]] = {
    "time": (times, 7),
    "latents": (latents, 31),
    "memory": (memory, 3),
    "flat": (flat, 1),
}


def main() -> None:
    """Measures everything, or the parts asked for, and writes the JSON."""
    command = parser(__doc__)
    command.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    command.add_argument("--threads", type=int, default=1, help="of torch")
    command.add_argument("--peak", help=argparse.SUPPRESS)
    chosen = command.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(chosen.threads)
    if chosen.peak:
        peak(chosen.peak)
        return
    peers, file = cam_peers.installed(), HERE / "cam.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    for name in chosen.parts:
        measure, rounds = PARTS[name]
        about = {"machine": machine(), "peers": peers, "rounds": rounds}
        kept[name] = about | {"rows": measure(peers, rounds)}
        write_json(file, kept)


if __name__ == "__main__":
    main()
