"""What the SDK scripts share: where the gateway is, and how a check reports.

Every script reads BASE_URL (no path) and API_KEY from the environment, stops at the first check that fails, and
prints one line for each that held.
"""

import contextlib
import os

BASE_URL = os.environ["BASE_URL"].rstrip("/")
API_KEY = os.environ["API_KEY"]
WRONG_KEY = "wrong-" + API_KEY
MESSAGE = "good morning, 你好"


def held(promise, condition, seen=None):
    """Reports a promise that held; raises with what was seen instead when it did not."""
    if not condition:
        raise AssertionError(f"{promise}: saw {seen!r}")
    print(f"ok  {promise}")


@contextlib.contextmanager
def refused(promise, kind, fits=lambda error: True):
    """Expects the block to raise an SDK error of this kind that fits."""
    try:
        yield
    except kind as error:
        held(promise, fits(error), error)
    else:
        raise AssertionError(f"{promise}: nothing was raised")


def answered(text):
    """Whether this is the simulated provider's answer to MESSAGE, whole."""
    return text is not None and text.startswith("Hello from") and text.endswith(MESSAGE)
