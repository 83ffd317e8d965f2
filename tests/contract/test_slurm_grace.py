"""What a real site gives a preempted run, and what is said of it before it waits."""

import time
from collections.abc import Iterator

import pytest
from tests.contract.places import Place, place_of
from tests.integration.virtual import Virtual

from headrace.core.events import CheckpointSaved
from headrace.core.order import Order
from headrace.core.records import read_record
from headrace.core.rundir import EventWriter

pytestmark = pytest.mark.slow


@pytest.fixture
def graceful(cluster: Virtual) -> Iterator[None]:
    words = ("sacctmgr", "-i", "modify", "qos", "low", "set")
    cluster.slurm(*words, "GraceTime=120")
    yield
    cluster.slurm(*words, "GraceTime=0")


@pytest.fixture
def place(
    cluster: Virtual, graceful: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


def test_a_run_whose_forerunner_saved_for_longer_than_its_qos_gives_is_warned(
    place: Place,
) -> None:
    asked = {"name": "slow", "qos": "low", "memory": "300M"}
    first = place.submit("true", **asked)
    assert not any("GraceTime" in note for note in first.notes)
    place.end(first.id)
    run = place.folder_of(first.id)
    assert read_record(run.order, Order).stop_grace_s == 60.0
    writer = EventWriter(run, "lead", now_s=time.time)
    saved = CheckpointSaved(rank=0, step=9, path="", size_bytes=1, stall_s=0.1, durable_s=200.0)
    writer.write(saved, attempt=0)
    writer.close()
    second = place.submit("true", **asked)
    (said,) = [note for note in second.notes if "GraceTime" in note]
    assert said.startswith("earlier runs needed 4m20s to save and leave, but under QOS low")
    assert "after 2m10s (GraceTime 2m and KillWait 10s)" in said
    place.end(second.id)
