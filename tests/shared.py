"""Recorded inputs that lie beside the checkout and are not part of it."""

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """The file, or skip the test, saying so."""
    path = Path(os.environ.get("HEADRACE_SHARED", "../shared")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no recorded input at {path} (set HEADRACE_SHARED)")
    return path
