"""What ``import headrace`` gives, and what it costs."""

import subprocess
import sys

import pytest

import headrace


@pytest.mark.parametrize("name", headrace.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(headrace, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Exekutor'"):
        _ = headrace.Exekutor  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_else() -> None:
    probe = (
        "import sys; before = set(sys.modules); import headrace; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["headrace"]
