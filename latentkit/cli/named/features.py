"""Which feature space `--features` names: that of the model, or one of `training.features`."""

from latentkit.cli.named.sources import Source
from latentkit.training.classifier import has_classes
from latentkit.training.features import Space, named_space


def open_space(source: Source, spec: str | None, seed: int) -> Space | None:
    """The feature space that the user named.

    By default the model's own encoder; without one, for a model that generates, a classifier of the
    data's labels; None where there are none either.
    """
    if spec is not None:
        source.require("decode", "prior")
    elif hasattr(source.model, "encode"):
        spec = "encoder"
    elif source.generates:
        spec = "classifier" if has_classes(source.data) else None
    return None if spec is None else space_of(source, spec, seed)


def space_of(source: Source, spec: str, seed: int) -> Space:
    """The feature space of this name: encoder, classifier, inception or package.module:callable."""
    if spec == "encoder":
        source.require("encode")
        return Space("encoder", lambda x: source.model.encode(x).flatten(1))
    return named_space(spec, source.data, source.device, seed)
