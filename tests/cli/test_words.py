"""Which errors are a user's mistakes, and in which words they are told."""

import pytest
import torch

from latentkit.cli.words import is_mistake, plain
from latentkit.cli.yamls import check_calls


def raised(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (its type is what is asked)
        call()
    return caught.value


@pytest.mark.parametrize(
    "call",
    [
        lambda: int(float("inf")),
        lambda: (1e200) ** 2,
        lambda: torch.zeros(3, dtype=torch.uint8).fill_(3000),
    ],
)
def test_arithmetic_that_fails_is_no_mistake_of_the_user(call):
    assert not is_mistake(raised(call))


def test_sizes_that_no_memory_holds_are():
    told = raised(lambda: torch.empty(10**14))
    assert is_mistake(told)
    assert plain(told).startswith("this needs more memory than there is (400,000.0 GB")
    told = raised(lambda: torch.empty(10**30))
    assert is_mistake(told)
    assert "too large: choose a smaller number" in plain(told)


@pytest.mark.parametrize("name", ["stackoverflow/x.png", "out of memory.png", "not enough memory"])
def test_the_name_of_a_file_is_no_diagnosis(name):
    told = FileNotFoundError(2, "No such file or directory", name)
    assert plain(told) == f"{name}: no such file or directory"
    assert plain(ValueError(f"no image at {name}")) == f"no image at {name}"


def test_numbers_are_keys_where_all_are():
    check_calls({"scheduling": {0: 8, 4: 4}}, "a config")
    for wrong in ({0: 8, "a": 4}, {None: 1}, {"": 1}):
        with pytest.raises(ValueError, match="expected names for keys in a config"):
            check_calls(wrong, "a config")
