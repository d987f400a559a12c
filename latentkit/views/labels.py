"""How labels are called wherever they are shown."""

from collections.abc import Sequence


def label_name(label: int, class_names: Sequence[str]) -> str:
    """The name of a label, its number where it has none, and "unlabelled" for -1."""
    if label < 0:
        return "unlabelled"
    return class_names[label] if label < len(class_names) else str(label)
