"""Where the shipped configs and models lie: in the package, or beside it in a checkout."""

from pathlib import Path


def find_config(name: str) -> Path:
    """Gives the path of a shipped config.

    Args:
        name: its file name, with or without the ending, e.g. "vae_mnist5k".

    Raises:
        ValueError: there is no such config; the names that exist are listed.
    """
    found = _find("configs", name.removesuffix(".yaml"), ".yaml")
    if found is None:
        names = ", ".join(config_names())
        raise ValueError(f"no config at {name}, and none of that name is shipped: {names}")
    return found


def find_model(name: str) -> Path | None:
    """Gives the path of the shipped model of a name such as "vae_mnist", or None."""
    return _find("checkpoints", name, ".safetensors")


def check_named(source: str) -> None:
    """Raises a ValueError for the name of no file, folder, factory or shipped model.

    Apart from the loading, so that a typing mistake is told before torch is imported.
    """
    if ":" in source or Path(source).exists() or find_model(source):
        return
    raise ValueError(
        f"no model at {source}: expected a model file, a run folder, a .ckpt, "
        f"package.module:factory or a shipped model ({', '.join(model_names())})"
    )


def config_names() -> list[str]:
    """File names of the shipped configs."""
    return sorted({path.name for path in _shipped("configs", ".yaml")})


def model_names() -> list[str]:
    """Names of the shipped models."""
    return sorted({path.stem for path in _shipped("checkpoints", ".safetensors")})


def _find(folder: str, name: str, ending: str) -> Path | None:
    return next((path for path in _shipped(folder, ending) if path.stem == name), None)


def _shipped(folder: str, ending: str) -> list[Path]:
    package = Path(__file__).parent
    checkout = package.parent  # not where the package is installed: others may have such a folder
    places = [package, *([checkout] if (checkout / "pyproject.toml").is_file() else [])]
    return [path for place in places for path in (place / folder).glob(f"*{ending}")]
