"""What an error is told as: one short line, in words for somebody who typed a command."""

import re
from argparse import ArgumentError

_LONGEST = 800  # characters of a message: what was wrong may hold a whole file
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory")
_TOO_LARGE = re.compile(r"Overflow when unpacking|too (large|big) to convert")


def is_mistake(error: Exception) -> bool:
    """Whether the error is of a kind that wrong input raises, here, in the parsers or in torch.

    Numbers that no memory holds are such input; any other error of torch is a bug of ours.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OverflowError):  # not those of arithmetic
        return bool(_TOO_LARGE.search(str(error)))
    if type(error) is RuntimeError or type(error).__name__ == "OutOfMemoryError":
        return bool(_NO_MEMORY.search(str(error)) or _TOO_LARGE.search(str(error)))
    from_lightning = type(error).__name__ == "MisconfigurationException"
    return from_lightning or isinstance(error, ValueError | TypeError | OSError | ArgumentError)


def plain(error: Exception) -> str:
    """One short line; of jsonargparse's unions only what each subtype wanted."""
    line = " ".join(_said(error).split())
    line = re.sub(r"Does not validate against any of the Union .*? Errors: - ", "", line)
    line = re.sub(r" - Expected a <class 'NoneType'>", "", line)
    line = re.sub(
        r"Given value type: .*?Given value: NestedArg\(key='(.*?)', val=(.*?)\)", r"(\1 = \2)", line
    )
    line = re.sub(r"Given value type: <class '.*?'> Given value:", "but got", line)
    line = re.sub(r" but got \{.*$", "", line)  # a whole section of the config
    line = re.sub(r"<class '(.*?)'>", r"\1", line)
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in _sized(error, line))
    return (
        line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 4 :]}"
    )


def _said(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    said = error.strerror.lower()
    return f"{error.filename}: {said}" if error.filename else said


def _sized(error: Exception, line: str) -> str:
    """Says first what an error about memory or too large a number means."""
    size = re.search(r"tried to allocate (\d+) bytes", line)
    ours = isinstance(error, MemoryError | RuntimeError)  # in others the words may be a file's name
    if isinstance(error, MemoryError) or size or (ours and _NO_MEMORY.search(line)):
        wanted = (
            f" ({int(size[1]) / 1e9:,.1f} GB in one piece)" if size else f" ({line or 'of any'})"
        )
        return f"this needs more memory than there is{wanted}: choose smaller sizes or counts"
    if isinstance(error, OverflowError) or (
        isinstance(error, RuntimeError | ValueError | TypeError) and _TOO_LARGE.search(line)
    ):
        return f"a size, count or seed is too large: choose a smaller number ({line})"
    return line
