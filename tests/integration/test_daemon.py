"""The daemon comes when it is needed, alone, for its user only, and goes when it is not."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.site import HEADRACE, Site, until

from headrace.control.client import Client
from headrace.control.daemon import take_lock
from headrace.control.errors import DaemonSilent
from headrace.core.errors import HeadraceError
from headrace.core.places import socket_path, state_folder

NOBODY = 65534


def started(site: Site) -> int:
    """How many daemons have come up here so far."""
    log = state_folder(site.environment) / "daemon.log"
    return log.read_text().count("Started server process")


def test_two_commands_at_once_start_one_daemon(site: Site) -> None:
    both = [
        subprocess.Popen(
            [HEADRACE, "ps"], env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [done.communicate(timeout=60) for done in both]
    assert [done.returncode for done in both] == [0, 0], said
    assert started(site) == 1


def test_a_command_that_meets_a_daemon_about_to_end_starts_the_next_one(site: Site) -> None:
    lock = take_lock(socket_path(site.environment).with_name("daemon.lock"), "about to end")
    assert lock is not None
    threading.Timer(0.5, os.close, [lock]).start()
    began_s = time.monotonic()
    assert Client(site.environment, runs=site.runs).runs(ended=True) == []
    assert 0.5 < time.monotonic() - began_s < 10


def test_a_daemon_without_runs_and_requests_ends_by_itself(site: Site) -> None:
    site.configure('[local]\nidle_exit = "1s"\n')
    run_id = site("run", "--name", "nap", "--", "sleep", "4").strip()
    client = Client(site.environment, runs=site.runs)
    before = client.daemon_if_up()
    time.sleep(3)
    assert client.daemon_if_up() == before, "it must not go while a run runs"
    path = socket_path(site.environment)
    until(lambda: not path.exists(), timeout_s=20.0)
    assert site.status(run_id)["state"] == "COMPLETED"
    assert started(site) == 2


@pytest.fixture
def open_site() -> Iterator[Site]:
    """Its folder may be entered by every user."""
    with tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        site = Site(Path(folder))
        yield site
        site("daemon", "stop", check=False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_even_at_an_open_socket(open_site: Site) -> None:
    client = Client(open_site.environment, runs=open_site.runs)
    client.daemon()
    path = socket_path(open_site.environment)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(DaemonSilent, match="gave no answer"):
            client.daemon()
    finally:
        os.seteuid(0)
    path.parent.chmod(0o755)
    path.chmod(0o666)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(HeadraceError) as caught:
            client.daemon()
    finally:
        os.seteuid(0)
        path.parent.chmod(0o700)
    assert (caught.value.code, caught.value.exit_status) == ("HR-CONTROL-003", 4)
