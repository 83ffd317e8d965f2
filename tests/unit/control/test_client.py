from pathlib import Path

import pytest

from headrace.control.client import Client
from headrace.control.errors import DaemonNotStarted


def test_a_daemon_that_ends_again_and_again_is_an_error_in_the_end(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    client = Client(environ, runs=None)
    client.log.parent.mkdir(parents=True)
    client.log.write_text("first\nTypeError: no such thing\n")
    for second in range(0, 60, 6):
        client._require_calm(second)
    with pytest.raises(DaemonNotStarted) as caught:
        client._require_calm(59)
    assert "ended 10 times within a minute" in caught.value.problem
    assert "TypeError: no such thing" in caught.value.why
    client._require_calm(120)
