"""Call a Python function as a rank: ``python -m headrace.launch.call package.module:function``.

The working directory is on the import path, as it is for ``python script.py``.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from headrace.core.errors import UsageError


class NoSuchFunction(UsageError):
    """The job file's ``python:`` names nothing that can be called."""

    code = "HR-LAUNCH-001"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"python: {name!r} is not a function that can be called",
            why=why,
            remedy="name it as package.module:function, importable from the job's workdir",
        )


def find_function(name: str) -> Callable[[], Any]:
    """Raise ``NoSuchFunction``. Errors inside the module itself are its own."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise NoSuchFunction(name, "it has no module or no function part")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise NoSuchFunction(name, f"there is no module {error.name}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise NoSuchFunction(name, f"module {module_name} has no function {attribute}")
    found: Callable[[], Any] = function
    return found


def main(arguments: list[str]) -> int:
    sys.path.insert(0, "")
    try:
        function = find_function(arguments[0])
    except NoSuchFunction as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    function()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
