"""Borrow a network and the process' settings, and give everything back as it was found.

No lock is held while a network or a score runs: explainers in several threads, or one in a thread
that another's score waits for, share what they have borrowed. The last of them gives it back.
"""

import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def borrowed(module: nn.Module | None) -> Iterator[None]:
    """Inside: every sub-module in eval mode, gradients off, no inference mode, nothing compiled.

    Flags (one by one), modes and random state come back also after an error. Other threads that
    run the same module meanwhile see it in eval mode. Of several borrowers at once, in threads,
    the last to leave restores what the first has found.

    The random state is the process', and it comes back whoever drew from it: another thread that
    draws from torch's global generators meanwhile, and does not borrow, may get the same numbers
    again afterwards. Give such threads generators of their own.

    Args:
        module: the network; None borrows the modes alone.
    """
    with torch.inference_mode(False), torch.no_grad(), ExitStack() as stack:
        loans: list[_Loan] = []
        stack.callback(_give_back, loans)
        with _lock:
            for device in [torch.device("cpu"), *_cuda(module)]:
                _lend(loans, device, _random_state(device), partial(_set_random_state, device))
            # Nothing can be compiled before dynamo is loaded, and loading it takes seconds.
            if "torch._dynamo" in sys.modules:
                _lend(loans, "compiler", torch.compiler.set_stance("force_eager"), _leave)
            for part in [] if module is None else module.modules():
                _lend(loans, part, part.training, partial(_set_flag, part))
                _set_flag(part, False)
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers are those of a seed; the generators of all devices come back.

    `torch.manual_seed` seeds every device, so that each has to be kept.

    Args:
        seed: as for `torch.manual_seed`.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def in_full(x: Tensor) -> AbstractContextManager[None]:
    """Inside, autocast is off on the device of x: what is solved must not be rounded to half."""
    return torch.autocast(x.device.type, enabled=False)


@dataclass(eq=False)
class _Loan:
    """What a borrower has found of one setting, and how to set it."""

    key: Hashable
    found: Any
    put: Callable[[Any], None]
    thread: int = field(default_factory=threading.get_ident)


# Flags, the compiler's stance and random states belong to the module and to the process, not to a
# thread. The lock is held while they change hands alone.
_lock = threading.RLock()
_lines: dict[Hashable, list[_Loan]] = {}  # who holds a setting, in the order in which they came


def _lend(loans: list[_Loan], key: Hashable, found: object, put: Callable[[Any], None]) -> None:
    loans.append(_Loan(key, found, put))
    _lines.setdefault(key, []).append(loans[-1])


def _give_back(loans: list[_Loan]) -> None:
    with _lock:
        for loan in reversed(loans):
            line = _lines[loan.key]
            place = line.index(loan)
            before, after = line[:place][-1:], line[place + 1 :]
            if after:  # in a thread that came later and still needs it: it gives back for both
                after[0].found = loan.found
            elif not _drawn_from(loan.key, before):
                loan.put(loan.found)
            del line[place]
            if not line:
                del _lines[loan.key]


def _drawn_from(key: Hashable, before: list[_Loan]) -> bool:
    """Whether another thread that has borrowed a random state must not see it turned back."""
    other = any(loan.thread != threading.get_ident() for loan in before)
    return other and isinstance(key, torch.device)


def _set_flag(part: nn.Module, training: bool) -> None:
    # The attribute, not .train(): a class may have overridden that with side effects.
    if part.training != training:  # reading is cheap and writing is not
        part.training = training


def _leave(stance: AbstractContextManager[None]) -> None:
    stance.__exit__(None, None, None)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _cuda(module: nn.Module | None) -> list[torch.device]:
    if module is None or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return list({tensor.device for tensor in module.parameters() if tensor.is_cuda})
