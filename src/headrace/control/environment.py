"""What ranks inherit of the environment they are submitted from."""

from collections.abc import Mapping

from headrace.core.errors import UsageError


class SecretMissing(UsageError):
    """A secret that the job names is not in the environment."""

    code = "HR-CONTROL-014"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the secret {name} is not set",
            why="the job file names it under secrets, and its value comes from your environment",
            remedy=f"export {name}=... and submit again",
        )


def submitted_environment(secrets: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """What the ranks inherit. Values that are no UTF-8 are left out. Raise ``SecretMissing``."""
    for name in secrets:
        if name not in environ:
            raise SecretMissing(name)
    return {
        name: value
        for name, value in environ.items()
        if not any("\ud800" <= char <= "\udfff" for char in name + value)
    }
