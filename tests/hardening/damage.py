"""Damage to files: to their bytes, to what their headers say, and other things in disguise."""

import bz2
import io
import json
import lzma
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.hardening.attempt import SENTINEL
from tests.hardening.configs import bomb
from tests.hardening.trees import mutated

Damaged = tuple[str, bytes | None]


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path(SENTINEL),)


class Ends:
    """Ends the process when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"open({SENTINEL!r}, 'w'); import os; os._exit(3)",)


def disguises() -> dict[str, bytes | None]:
    """Contents that are something else than the file's name says."""
    zeros = b"\0" * (64 * 2**20)
    npy = _npy_head((2**20, 64, 64), "|u1")
    return {
        "nothing": b"",
        "a folder": None,
        "a pickle": pickle.dumps({"a": Evil()}),
        "an old pickle": pickle.dumps(Evil(), protocol=0),
        "a pickle that ends the process": pickle.dumps(Ends()),
        "torch.save of a pickle": _saved({"state_dict": Evil(), "latentkit": Evil()}),
        "old torch.save of a pickle": _saved(Evil(), old=True),
        "numpy objects": _numpy_objects(),
        "numpy objects in a zip": _zipped({"x.npy": _numpy_objects(), "y.npy": _numpy_objects()}),
        "zip bomb": _zipped({"x.npy": npy + zeros, "data.pkl": zeros, "archive/data.pkl": zeros}),
        "zip of other files": _zipped({"../../sentinel": b"x", "/tmp/sentinel-abs": b"x"}),
        "empty zip": _zipped({}),
        "gzip bomb": zlib.compress(zeros, 9, 31),
        "bz2 bomb": bz2.compress(zeros),
        "lzma bomb": lzma.compress(zeros),
        "not utf-8": b"\xff\xfe\xfa\x80 text \xc3\x28",
        "utf-16": "class_path: x".encode("utf-16"),
        "a script": b"#!/bin/sh\ntouch sentinel\n",
        "html": b"<script>fetch('http://localhost')</script>",
        "yaml bomb": bomb().encode(),
        "deep json": b"[" * 100_000,
        "deep json in a safetensors": _safetensors(b'{"__metadata__":' + b"[" * 50_000),
        "huge safetensors header": struct.pack("<Q", 2**62) + b"{}",
        "header of 99 MB": struct.pack("<Q", 99_000_000) + b"{}",
        "number": b"9" * 100_000,
        "spaces": b" " * 100_000,
        "lines": b"\n" * 100_000,
        "png bomb": _png(60_000, 60_000),
        "wide png": _png(100_000, 1),
        "png of no size": _png(0, 0),
    }


def _saved(value: Any, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def _numpy_objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    return file.getvalue()


def _zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _safetensors(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def _png(width: int, height: int) -> bytes:
    """A PNG that claims a size, with a right checksum, and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _npy_head(shape: tuple[Any, ...], kind: str, order: bool = False) -> bytes:
    text = repr({"descr": kind, "fortran_order": order, "shape": shape}).encode() + b" \n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@st.composite
def in_bytes(draw: Any, content: bytes) -> Damaged:
    """Damage that knows nothing of the format."""
    kind = draw(
        st.sampled_from(["cut", "bits", "bits", "head bits", "overwritten", "grown", "twice"])
    )
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    if kind == "cut":
        return kind, content[:at]
    if kind == "grown":
        return kind, content[:at] + draw(st.binary(min_size=1, max_size=64)) + content[at:]
    if kind == "twice":
        return kind, content + content
    spoilt = bytearray(content)
    if kind == "overwritten":
        spoilt[at : at + 64] = draw(st.sampled_from([b"\0" * 64, b"\xff" * 64, bytes(range(64))]))
        return kind, bytes(spoilt)
    within = min(len(content), 256) if kind == "head bits" else len(content)
    for place in draw(st.lists(st.integers(0, max(within - 1, 0)), min_size=1, max_size=20)):
        if place < len(spoilt):
            spoilt[place] ^= 1 << draw(st.integers(0, 7))
    return kind, bytes(spoilt)


@st.composite
def disguised(draw: Any) -> Damaged:
    """Something else under the file's name."""
    return draw(st.sampled_from(list(_disguises().items())))


def _disguises(cache: dict[str, bytes | None] = {}) -> dict[str, bytes | None]:  # noqa: B006
    if not cache:
        cache.update(disguises())
    return cache


@st.composite
def safetensors(draw: Any, content: bytes) -> Damaged:
    """Another header: of tensors, and of the description in the metadata, over the same bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    if draw(st.booleans()):
        kind, header = draw(mutated(header, most=1))
        return f"header {kind}", _safetensors(json.dumps(header).encode(), body)
    ((key, text),) = header["__metadata__"].items()
    kind, told = draw(mutated(json.loads(text), most=2))
    header["__metadata__"] = {key: json.dumps(told)}
    return f"description {kind}", _safetensors(json.dumps(header).encode(), body)


@st.composite
def retyped(draw: Any, content: bytes) -> Damaged:
    """A safetensors file whose tensors have other types, shapes and values."""
    from safetensors.torch import load, save

    length = struct.unpack("<Q", content[:8])[0]
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    tensors = load(content)
    name = draw(st.sampled_from(sorted(tensors)))
    value = tensors[name]
    changes = {
        "no numbers": lambda: torch.full_like(value, float("nan")),
        "infinite": lambda: torch.full_like(value, float("inf")),
        "integers": lambda: value.long(),
        "bytes": lambda: value.byte(),
        "booleans": lambda: value.bool(),
        "halves": lambda: value.bfloat16(),
        "doubles": lambda: value.double(),
        "complex": lambda: value.to(torch.complex64),
        "flat": lambda: value.flatten(),
        "empty": lambda: value.flatten()[:0],
        "scalar": lambda: torch.zeros(()),
        "deeper": lambda: value[None],
        "longer": lambda: torch.cat([value.flatten(), value.flatten()]),
    }
    kind = draw(st.sampled_from([*changes, "missing", "renamed"]))
    if kind in {"missing", "renamed"}:
        tensors.pop(name)
        tensors |= {f"{name}x": value} if kind == "renamed" else {}
    else:
        tensors[name] = changes[kind]().contiguous()
    return f"tensor {kind}", save(tensors, metadata)


@st.composite
def checkpoint(draw: Any, content: bytes) -> Damaged:
    """A checkpoint whose entries are changed, saved as torch saves it; or packed tightly."""
    if draw(st.integers(0, 9)) == 0:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        return "deflated", _zipped(members)
    tree = torch.load(io.BytesIO(content), weights_only=True)
    kind, tree = draw(mutated(tree, most=1))
    return f"entry {kind}", _saved(tree)


@st.composite
def array(draw: Any, content: bytes) -> Damaged:
    """An `.npy` of another type or shape, or with a header that claims one."""
    shapes = [(), (0,), (6,), (1, 6), (60,), (60, 16), (60, 16, 16), (0, 16, 16), (60, 16, 16, 3)]
    shapes += [(60, 3, 16, 16), (60, 3, 3, 3), (1, 16, 16), (60, 1, 1), (60, 2, 2, 2, 2)]
    claimed = [*shapes, (2**40, 16, 16), (2**62,), (-1, 16), (1.5,), ("a",), (2**31, 2**31, 4)]
    kinds = ["|u1", "<f4", "<f8", ">f4", "<f2", "<i8", "|b1", "<c8", "<U4", "|S3", "<M8[s]", "|V8"]
    if draw(st.booleans()):
        head = _npy_head(draw(st.sampled_from(claimed)), draw(st.sampled_from([*kinds, "|O", "x"])))
        return "claimed shape", head + content[128:]
    fill = draw(st.sampled_from([0, 1, -1, 0.5, 255, float("nan"), float("inf")]))
    shape, kind = draw(st.sampled_from(shapes)), draw(st.sampled_from(kinds))
    with np.errstate(all="ignore"):
        values = np.full(shape, fill, np.float64).astype(kind[:3] if kind[1] == "V" else kind)
    file = io.BytesIO()
    np.save(file, values)
    return "other array", file.getvalue()


@st.composite
def archive(draw: Any, content: bytes) -> Damaged:
    """An `.npz` with another member, or with members that are missing, renamed or twice there."""
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        members = {name: found.read(name) for name in found.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    if draw(st.integers(0, 3)):
        kind, members[name] = draw(array(members[name]) | in_bytes(members[name]))
        return f"member: {kind}", _zipped(members)
    value = members.pop(name)
    other = draw(st.sampled_from(["X.npy", "../x.npy", "x", "x.npy/", "\u202e.npy", "x.npy.npy"]))
    members |= draw(st.sampled_from([{}, {other: value}, {name: b"PK"}, {name: value[:20]}]))
    return "members", _zipped(members, draw(st.sampled_from([0, 8, 12, 14])))
