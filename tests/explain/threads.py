"""Threads that get into each other's way, and whose errors are not lost."""

import sys
import threading


def together(work, count, switch):
    """Run work(0), work(1), ... at once, changing from one to the next every `switch` seconds."""
    errors, interval = [], sys.getswitchinterval()

    def kept(k):
        try:
            work(k)
        except BaseException as error:  # noqa: BLE001  (of any kind: a thread would swallow it)
            errors.append(error)

    try:
        sys.setswitchinterval(switch)
        threads = [threading.Thread(target=kept, args=(k,)) for k in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
