import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.launched import Launched
from tests.integration.site import Site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("s"))
    yield made
    for row in json.loads(made("ps", "--json", check=False) or "{}").get("runs", []):
        made("cancel", "--now", row["id"], check=False)
    made("daemon", "stop", check=False)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    started: list[Launched] = []

    def start(*command: str, **changes: object) -> Launched:
        root = tmp_path / f"test-{len(started)}"
        launched = Launched(root, command, **changes)
        started.append(launched)
        return launched

    yield start
    for launched in started:
        launched.lead.kill()
        launched.lead.wait()
        for pid in launched.left():
            os.kill(pid, signal.SIGKILL)
