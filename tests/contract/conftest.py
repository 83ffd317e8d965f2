from collections.abc import Iterator

import pytest
from tests.contract.places import NAMES, Place, place_of, real_cluster
from tests.integration.virtual import Virtual


@pytest.fixture(scope="module")
def cluster() -> Iterator[Virtual]:
    """Of a file: a node that Slurm drains in one is no matter of the next."""
    with real_cluster() as made:
        yield made


@pytest.fixture(params=NAMES)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    made = request.getfixturevalue("cluster") if request.param == "real" else None
    with place_of(request.param, tmp_path_factory.mktemp("p"), made) as found:
        yield found


@pytest.fixture(autouse=True)
def no_network_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process writes, the others see."""
    monkeypatch.setattr("headrace.engines.slurm.seeing.SETTLES_S", 3.0)
