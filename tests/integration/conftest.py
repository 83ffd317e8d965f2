import json
from collections.abc import Iterator

import pytest
from tests.integration.site import Site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("s"))
    yield made
    for row in json.loads(made("ps", "--json", check=False) or "{}").get("runs", []):
        made("cancel", "--now", row["id"], check=False)
    made("daemon", "stop", check=False)
