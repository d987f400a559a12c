"""The contract of `latentkit.protocols` as a suite to run on any model: `check_model`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_SEED = 0
_SAMPLES = 4
_CLOSE = 1e-3  # of the largest value; a batch of one may run through another kernel
_RANGE = 1e-4  # how far an image may leave [0, 1]


def check_model(model: object, x: Tensor | None = None, z: Tensor | None = None) -> list[str]:
    """Checks that an object keeps every rule of the protocols it offers.

    Any object with `encode` and/or `decode` will do, and what it offers besides (`discriminate`,
    `prior`, `to_styles` and `from_styles`, `explainable`) is checked too. The model is taken as it
    is: put a module in evaluation mode first. The global random state is left as it was.

    Args:
        model: what to check.
        x: two images or more (N, C, *S) in [0, 1]; by default what the model decodes from `z`.
        z: two latents or more (N, *Z); by default samples of the model's prior, else its
            encodings of `x`.

    Returns:
        The names of the checks that were run, all of them passed.

    Raises:
        ValueError: a rule is broken (the message names it), or there is nothing to check the model
            with: then give `x` or `z`.

    >>> from types import SimpleNamespace
    >>> basis = torch.eye(16)[:, :4]
    >>> pair = SimpleNamespace(
    ...     encode=lambda x: x.flatten(1) @ basis,
    ...     decode=lambda z: (z @ basis.T).sigmoid().reshape(-1, 1, 4, 4),
    ... )
    >>> x = torch.linspace(0, 1, 48).reshape(3, 1, 4, 4)
    >>> names = check_model(pair, x)
    >>> "encode: samples are independent" in names
    True
    >>> pair.encode = lambda x: x.flatten(1) @ basis - x.mean()
    >>> check_model(pair, x)
    Traceback (most recent call last):
        ...
    ValueError: encode must treat samples independently: row 0 alone gave another result than ...
    """
    if not (hasattr(model, "encode") or hasattr(model, "decode")):
        raise ValueError(f"expected a model with encode and/or decode, got {type(model).__name__}")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        images, latents = _inputs(model, x, z)
        checks = (_encoder, _decoder, _shapes, _discriminator, _prior, _styles, _explainable)
        return [name for check in checks for name in check(model, images, latents)]


def _inputs(model: Any, x: Tensor | None, z: Tensor | None) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
    """Gives images and latents, each from the other where it is missing and can be made."""
    if z is None and getattr(model, "prior", None) is not None:
        z = _draw(model.prior, _reference(model, x), _SEED)
    if z is None and x is not None and hasattr(model, "encode"):
        z = _call("encode", model.encode, x)
    if x is None and z is not None and hasattr(model, "decode"):
        x = _call("decode", model.decode, z)
    if x is None and (hasattr(model, "encode") or hasattr(model, "discriminate")):
        raise ValueError("nothing to encode: give x, some images (N, C, *S)")
    if z is None and hasattr(model, "decode"):
        raise ValueError("nothing to decode: give z, some latents (N, *Z), or x and an encoder")
    for name, batch in (("x", x), ("z", z)):
        if batch is not None and (batch.ndim < 2 or len(batch) < 2):
            raise ValueError(
                f"expected {name} to hold two samples or more, got shape {tuple(batch.shape)}"
            )
    return x, z


def _reference(model: object, x: Tensor | None) -> Tensor:
    """Gives a tensor with the device and dtype that the model works in."""
    if x is not None:
        return x
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.empty(0) if first is None else first


def _call(name: str, function: Callable[..., Any], *inputs: Any, **settings: Any) -> Tensor:
    """Runs a part of the model; what it raises, and anything but a tensor, breaks the contract."""
    got = ", ".join(str(tuple(i.shape)) if isinstance(i, Tensor) else repr(i) for i in inputs)
    try:
        # Copies, so that a model that works in place does not spoil the checks after it.
        result = function(*(i.clone() if isinstance(i, Tensor) else i for i in inputs), **settings)
    except Exception as error:
        hint = "; is the model in evaluation mode?" if "training" in str(error) else ""
        raise ValueError(f"{name} must run on {got}, it raised {error!r}{hint}") from error
    if not isinstance(result, Tensor):
        raise ValueError(f"{name} must return a tensor, got {type(result).__name__}")
    return result


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    return bool((a - b).abs().max() <= _CLOSE * b.abs().max()) if a.numel() else True


def _map(
    name: str, function: Callable[[Tensor], Tensor], batch: Tensor
) -> tuple[Tensor, list[str]]:
    """Checks what every map of batches must keep, and gives its result with the checks' names."""
    result = _call(name, function, batch)
    _require(
        result.ndim >= 1 and len(result) == len(batch),
        f"{name} must keep the batch: {len(batch)} samples gave shape {tuple(result.shape)}",
    )
    _require(result.is_floating_point(), f"{name} must return floating numbers, got {result.dtype}")
    _require(bool(result.isfinite().all()), f"{name} must return finite numbers, got NaN or inf")
    _require(
        torch.equal(result, _call(name, function, batch)),
        f"{name} must be deterministic: the same batch gave two different results",
    )
    # The last row too: whatever runs along the batch leaves the first as it is.
    for row in (0, len(batch) - 1):
        _require(
            _close(_call(name, function, batch[row : row + 1]), result[row : row + 1]),
            f"{name} must treat samples independently: row {row} alone gave another result than "
            "in its batch; is the model in evaluation mode?",
        )
    rules = ("keeps the batch", "is floating", "is finite", "is deterministic")
    return result, [f"{name}: {rule}" for rule in (*rules, "samples are independent")]


def _encoder(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401, ARG001
    if x is None or not hasattr(model, "encode"):
        return []
    latents, names = _map("encode", model.encode, x)
    _require(latents.ndim >= 2, f"encode must return (N, *Z), got {tuple(latents.shape)}")
    return names


def _decoder(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401, ARG001
    if z is None or not hasattr(model, "decode"):
        return []
    images, names = _map("decode", model.decode, z)
    _require(images.ndim >= 3, f"decode must return (N, C, *S), got {tuple(images.shape)}")
    low, high = float(images.min()), float(images.max())
    _require(
        low >= -_RANGE and high <= 1 + _RANGE,
        f"decode must return images in [0, 1], got values from {low:.4g} to {high:.4g}",
    )
    return [*names, "decode: images lie in [0, 1]"]


def _shapes(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401
    if x is None or z is None or not (hasattr(model, "encode") and hasattr(model, "decode")):
        return []
    code, image = _call("encode", model.encode, x), _call("decode", model.decode, z)
    _require(
        code.shape[1:] == z.shape[1:],
        f"encode must return the latents that decode takes: it gave {tuple(code.shape)}, "
        f"z is {tuple(z.shape)}",
    )
    _require(
        image.shape[1:] == x.shape[1:],
        f"decode must return the images that encode takes: it gave {tuple(image.shape)}, "
        f"x is {tuple(x.shape)}",
    )
    _call("decode after encode", model.decode, code)
    _call("encode after decode", model.encode, image)
    return ["encode and decode: shapes agree"]


def _discriminator(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401, ARG001
    if x is None or not hasattr(model, "discriminate"):
        return []
    logits, names = _map("discriminate", model.discriminate, x)
    _require(
        logits.shape == (len(x),),
        f"discriminate must return one logit per image ({len(x)},), got {tuple(logits.shape)}",
    )
    return [*names, "discriminate: one logit per image"]


def _draw(prior: Any, reference: Tensor, seed: int) -> Tensor:  # noqa: ANN401
    generator = torch.Generator(reference.device).manual_seed(seed)
    z = _call("prior.sample", prior.sample, _SAMPLES, generator=generator)
    return z.to(reference.dtype) if z.is_floating_point() else z


def _prior(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401
    prior = getattr(model, "prior", None)
    if prior is None:
        return []
    reference, before = _reference(model, x), torch.get_rng_state()
    first, again = _draw(prior, reference, _SEED), _draw(prior, reference, _SEED)
    _require(
        torch.equal(torch.get_rng_state(), before),
        "prior.sample must leave the global random state alone when it is given a generator",
    )
    _require(torch.equal(first, again), "prior.sample must give the same latents for the same seed")
    _require(
        not torch.equal(first, _draw(prior, reference, _SEED + 1)),
        "prior.sample must give other latents for another seed",
    )
    _require(
        first.ndim >= 2 and len(first) == _SAMPLES and first.is_floating_point(),
        f"prior.sample(n) must return n floating latents (n, *Z), n = {_SAMPLES} gave "
        f"{first.dtype} of shape {tuple(first.shape)}",
    )
    names = ["prior: same seed, same latents", "prior: global random state untouched"]
    if z is None or not hasattr(model, "decode"):
        return names
    _require(
        first.shape[1:] == z.shape[1:],
        f"prior.sample must return the latents that decode takes: it gave {tuple(first.shape)}, "
        f"z is {tuple(z.shape)}",
    )
    _call("decode of prior samples", model.decode, first)
    return [*names, "prior: samples decode"]


def _styles(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401, ARG001
    if not (hasattr(model, "to_styles") and hasattr(model, "from_styles")):
        return []
    if z is None or not hasattr(model, "decode"):
        raise ValueError("a style decoder must offer decode too, and z to check it with")
    styles, names = _map("to_styles", model.to_styles, z)
    _require(styles.ndim == 3, f"to_styles must return (N, L, W), got {tuple(styles.shape)}")
    _require(
        _close(_call("from_styles", model.from_styles, styles), _call("decode", model.decode, z)),
        "from_styles(to_styles(z)) must equal decode(z)",
    )
    return [*names, "styles: from_styles(to_styles(z)) is decode(z)"]


def _explainable(model: Any, x: Tensor | None, z: Tensor | None) -> list[str]:  # noqa: ANN401, ARG001
    if x is None or not hasattr(model, "explainable"):
        return []
    parts = model.explainable()
    _require(
        isinstance(parts, Mapping) and len(parts) > 0,
        f"explainable must name at least one part, got {parts!r}",
    )
    whole = {"encoder": "encode", "discriminator": "discriminate"}
    for name, part in parts.items():
        known = dict(part.module.named_modules())
        missing = [layer for layer in part.layers if not layer or layer not in known]
        _require(
            not missing and len(part.layers) > 0,
            f"explainable must name layers inside the module of {name!r}, got {missing or 'none'}",
        )
        output = _call(f"the module of {name!r}", part.module, x)
        _require(len(output) == len(x), f"the module of {name!r} must keep the batch")
        same = getattr(model, whole.get(name, ""), None)
        # The numbers may differ (logits stand in for probabilities), their meaning may not.
        _require(
            same is None or output.numel() == same(x).numel(),
            f"the module of {name!r} must return as many numbers as {whole.get(name)}, "
            f"got {tuple(output.shape)}",
        )
    return [f"explainable: {name} runs and has its layers" for name in parts]
