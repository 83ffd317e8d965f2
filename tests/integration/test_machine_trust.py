"""The machine's daemon among users who do not trust each other. Needs root."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.machine import Machine, User, machine_of
from tests.integration.site import until

pytestmark = pytest.mark.slow
SECRET = "hunter2-ada"

ASK = """
import http.client, json, socket, sys
place, method, path, body, headers = sys.argv[1:6]
connection = http.client.HTTPConnection("localhost", timeout=30)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(place)
connection.request(method, path, body or None, json.loads(headers))
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode(errors="replace")]))
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with machine_of("ada", "bob", "cleo") as made:
        group = f"hradm{os.getpid() % 10_000}"
        subprocess.run(["groupadd", group], check=True)
        subprocess.run(["usermod", "-aG", group, made.users[2].name], check=True)
        made.configure(f'admins = "{group}"\n[local]\ncpus = 2\n')
        made.start()
        try:
            yield made
        finally:
            made.stop()
            subprocess.run(["groupdel", group], check=False)


@pytest.fixture
def ada(machine: Machine) -> User:
    return machine.users[0]


@pytest.fixture
def bob(machine: Machine) -> User:
    return machine.users[1]


@pytest.fixture
def cleo(machine: Machine) -> User:
    """An admin."""
    return machine.users[2]


def ask(
    machine: Machine, user: User, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, str]:
    """One request of that user's own making."""
    sent = {"content-type": "application/json", **headers}
    text = "" if body is None else json.dumps(body)
    done = subprocess.run(
        [
            *(machine.program, "-c", ASK, machine.places["HEADRACE_SYSTEM_SOCKET"]),
            *(method, path, text, json.dumps(sent)),
        ],
        user=user.uid,
        group=user.gid,
        extra_groups=[user.gid],
        env={"PATH": "/usr/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    status, answer = json.loads(done.stdout)
    return status, answer


def ended(machine: Machine, user: User | None, run_id: str) -> dict[str, Any]:
    machine.as_user(user, "wait", run_id, check=False)
    return machine.status(user, run_id)


def running(machine: Machine, user: User, *command: str) -> str:
    run_id = machine.submit(user, "--", *command)
    until(lambda: machine.status(user, run_id)["state"] == "RUNNING")
    return run_id


def folder_of(machine: Machine, user: User, run_id: str) -> Path:
    return Path(machine.status(user, run_id)["run_dir"])


@pytest.fixture
def held(machine: Machine, ada: User) -> Iterator[str]:
    """A waiting run of ada's, with a secret."""
    run_id = machine.as_user(
        ada,
        "run",
        "--name",
        "held",
        "--secrets",
        "TOKEN",
        "--after-any",
        blocker(machine, ada),
        "--",
        "true",
        TOKEN=SECRET,
    ).stdout.strip()
    yield run_id
    machine.as_user(ada, "cancel", run_id, check=False)


_BLOCKER: dict[int, str] = {}


def blocker(machine: Machine, user: User) -> str:
    if user.uid not in _BLOCKER:
        _BLOCKER[user.uid] = running(machine, user, "sleep", "600")
    return _BLOCKER[user.uid]


# --- what a run is --------------------------------------------------------------------------------


def test_a_run_is_its_users_process_with_their_groups_home_and_folder_and_nothing_of_roots(
    machine: Machine, ada: User
) -> None:
    shown = (
        "import os, sys; print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ['HOME'],"
        " os.getcwd(), [l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')],"
        " sorted(os.environ.get('MINE', '')), os.environ.get('HEADRACE_SYSTEM_STATE'))"
    )
    path = ada.home / "work"
    path.mkdir()
    os.chown(path, ada.uid, ada.gid)
    run_id = machine.as_user(
        ada, "run", "--workdir", str(path), "--", machine.program, "-c", shown, MINE="yes"
    ).stdout.strip()
    assert ended(machine, ada, run_id)["state"] == "COMPLETED"
    uids, gids = (ada.uid,) * 3, (ada.gid,) * 3
    assert machine.as_user(ada, "logs", run_id).stdout.startswith(
        f"{uids} {gids} [{ada.gid}] {ada.home} {path} ['0000000000000000'] ['e', 's', 'y']"
    )


def test_files_of_a_run_are_its_owners_alone(machine: Machine, ada: User) -> None:
    run_id = machine.as_user(ada, "run", "--secrets", "TOKEN", "--", "true", TOKEN=SECRET)
    folder = folder_of(machine, ada, run_id.stdout.strip())
    ended(machine, ada, run_id.stdout.strip())
    found = folder.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (ada.uid, 0o700)
    assert (folder / "environment.json").stat().st_mode & 0o777 == 0o600
    for path in folder.rglob("*"):
        assert path.lstat().st_uid == ada.uid, path


def test_the_daemons_own_files_are_roots_alone(machine: Machine, held: str) -> None:
    for path in (machine.state, *machine.state.rglob("*")):
        found = path.stat()
        assert (found.st_uid, found.st_mode & 0o077) == (0, 0), path
    secrets = list((machine.state / "environments").glob(f"{held}.json"))
    assert SECRET in secrets[0].read_text()
    assert SECRET not in (machine.state / "journal").read_text()


# --- ways to get at another's run -----------------------------------------------------------------


def test_others_see_whose_it_is_its_state_and_size_and_no_more(
    machine: Machine, ada: User, bob: User, held: str
) -> None:
    text = machine.as_user(bob, "ps", "--json").stdout
    number = held.rpartition("-")[2]
    (row,) = [row for row in json.loads(text)["runs"] if row["id"] == number]
    assert (row["user"], row["state"], row["request"]["nodes_min"]) == (ada.name, "PENDING", 1)
    assert row["name"] + row["reason"] + row["run_dir"] == ""
    for word in (SECRET, "held", "sleep", str(ada.home)):
        assert word not in text


REFUSED = pytest.mark.parametrize(
    "words",
    [
        ("cancel",), ("cancel", "--now"), ("hold",), ("release",), ("requeue",),
        ("resize", "1"), ("logs",), ("status",),
    ],
    ids=" ".join,
)  # fmt: skip


@REFUSED
def test_another_may_not_act_on_it(
    machine: Machine, bob: User, held: str, words: tuple[str, ...]
) -> None:
    for name in (held, held.rpartition("-")[2]):
        done = machine.as_user(bob, words[0], name, *words[1:], check=False)
        assert done.returncode == 4, done.stderr
        assert "HR-ENGINE-002" in done.stderr
        assert "held" not in done.stderr


def test_an_array_of_anothers_is_not_cancelled_by_its_id(
    machine: Machine, ada: User, bob: User
) -> None:
    words = ("run", "--name", "many", "--array", "0-2", "--after-any", blocker(machine, ada))
    array = machine.as_user(ada, *words, "--", "true").stdout.strip()
    assert machine.as_user(bob, "cancel", array, check=False).returncode == 4
    assert machine.status(ada, f"{array}_1")["state"] == "PENDING"
    machine.as_user(ada, "cancel", array)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-user": "root", "x-remote-user": "root", "remote-user": "root"},
        {"authorization": "Basic cm9vdDo="},
        {"x-headrace-user": "ada", "x-headrace-uid": "0", "x-headrace-runs": "/"},
        {"forwarded": "for=0.0.0.0;by=root"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_headers_make_nobody_else_of_a_caller(
    machine: Machine, bob: User, held: str, headers: dict[str, str]
) -> None:
    status, answer = ask(machine, bob, "POST", f"/v1/runs/{held}/cancel", {"now": True}, **headers)
    assert status == 409
    assert "HR-ENGINE-002" in answer


def test_a_submission_is_its_senders_whatever_it_says_and_another_token_is_no_way_in(
    machine: Machine, ada: User, bob: User, held: str
) -> None:
    token = json.loads(folder_record(machine, held))["token"]
    job = f"name: mine\nrun: 'true'\nworkdir: /\nafter: {{any: [{blocker(machine, ada)}]}}\n"
    body = {"token": token, "job": job, "environment": {"USER": ada.name}}
    status, answer = ask(machine, bob, "POST", "/v1/runs", body, **{"x-user": ada.name})
    assert status == 201
    run_id = json.loads(answer)["id"]
    assert run_id != held
    assert machine.status(bob, run_id)["user"] == bob.name
    status, _ = ask(machine, bob, "POST", "/v1/runs", {**body, "user": ada.name})
    assert status != 201
    machine.as_user(bob, "cancel", run_id)


def folder_record(machine: Machine, run_id: str) -> str:
    """The submission as the journal has it."""
    for line in (machine.state / "journal").read_text().splitlines():
        record = json.loads(line.partition(" ")[2])
        for element in record.get("elements", []):
            if element["submission"]["run_id"] == run_id:
                return json.dumps(element["submission"])
    raise AssertionError(run_id)


@pytest.mark.parametrize("path", ["detail", "logs", "piece?path=environment.json&offset=0"])
def test_the_api_shows_no_file_of_anothers(
    machine: Machine, bob: User, held: str, path: str
) -> None:
    status, answer = ask(machine, bob, "GET", f"/v1/runs/{held}/{path}")
    assert status == 409
    assert SECRET not in answer


def test_a_path_that_leads_out_of_the_run_is_refused_and_read_as_the_user_anyway(
    machine: Machine, ada: User
) -> None:
    run_id = machine.submit(ada, "--", "true")
    ended(machine, ada, run_id)
    for path in ("../../../../../../etc/shadow", "/etc/shadow", "..%2f..%2fx"):
        status, answer = ask(machine, ada, "GET", f"/v1/runs/{run_id}/piece?path={path}&offset=0")
        assert status in (409, 503), answer
        assert "root:" not in answer


@pytest.mark.parametrize("name", ["../x", "a/../../etc", "x\ny", "$(id)", "-x", ".", ""])
def test_a_name_that_is_a_path_is_refused(machine: Machine, bob: User, name: str) -> None:
    body = {"token": "0" * 32, "job": json.dumps({"name": name, "run": "true", "workdir": "/"})}
    status, _ = ask(machine, bob, "POST", "/v1/runs", {**body, "environment": {}})
    assert status == 400
    status, _ = ask(machine, bob, "GET", f"/v1/runs/{'%2e%2e%2f' * 3}etc%2fshadow/logs")
    assert status == 404


def test_the_files_of_another_are_closed_to_a_user_of_the_machine(
    machine: Machine, ada: User, bob: User
) -> None:
    run_id = machine.submit(ada, "--", "echo", "private")
    folder = folder_of(machine, ada, run_id)
    ended(machine, ada, run_id)
    for path in (folder / "environment.json", folder / "events/lead.jsonl", machine.state):
        done = subprocess.run(
            ["cat", str(path)], user=bob.uid, group=bob.gid, extra_groups=[bob.gid],
            capture_output=True, check=False,
        )  # fmt: skip
        assert b"Permission denied" in done.stderr
    forged = ["kill", "-9", str(machine.daemon and machine.daemon.pid)]
    done = subprocess.run(
        forged,
        user=bob.uid,
        group=bob.gid,
        extra_groups=[bob.gid],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0


def test_a_mark_of_anothers_run_on_a_process_gets_nobody_killed(
    machine: Machine, ada: User, bob: User
) -> None:
    run_id = running(machine, ada, "sleep", "600")
    bystander = subprocess.Popen(
        ["sleep", "60"],
        user=bob.uid,
        group=bob.gid,
        extra_groups=[bob.gid],
        env={"HEADRACE_RUN_DIR": str(folder_of(machine, ada, run_id))},
    )
    machine.as_user(ada, "cancel", "--now", run_id)
    assert ended(machine, ada, run_id)["state"] == "CANCELLED"
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize(
    "body", ["[" * 200_000, '{"job": "' + "x" * (40 << 20), "{}", "\x00\xff"], ids=len
)
def test_a_body_that_is_too_large_or_no_body_at_all_ends_no_daemon(
    machine: Machine, bob: User, body: str
) -> None:
    assert machine.daemon is not None
    assert raw_ask(machine, body) != 201
    assert machine.daemon.poll() is None
    assert machine.as_user(bob, "ps", "--json").stdout.startswith('{"schema":1')


def raw_ask(machine: Machine, body: str) -> int:
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(machine.places["HEADRACE_SYSTEM_SOCKET"])
    try:
        connection.request("POST", "/v1/runs", body.encode("latin-1"))
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_run_leaves_no_descriptor_and_no_child_in_the_daemon(machine: Machine, ada: User) -> None:
    assert machine.daemon is not None
    descriptors = Path(f"/proc/{machine.daemon.pid}/fd")

    def settled() -> int:
        ended(machine, ada, machine.submit(ada, "--", "true"))
        until(lambda: not children(machine))
        return len(list(descriptors.iterdir()))

    before = settled()
    assert [settled() for _ in range(3)] == [before] * 3


def children(machine: Machine) -> list[str]:
    """Of the daemon: dead ones, and errands under way."""
    assert machine.daemon is not None
    words = ["ps", "--ppid", str(machine.daemon.pid), "-o", "stat=,args="]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if line.startswith("Z") or "as_user" in line]


def test_usage_and_shares_of_others_are_shown_to_admins_only(
    machine: Machine, ada: User, bob: User, cleo: User
) -> None:
    for user in (ada, bob):
        ended(machine, user, machine.submit(user, "--", "true"))

    def users(who: User | None) -> set[str]:
        rows = json.loads(machine.as_user(who, "usage", "--json").stdout)["usage"]
        assert all(row["cpu_hours"] > 0 for row in rows)
        return {row["user"] for row in rows}

    assert users(bob) == {bob.name}
    assert {ada.name, bob.name} <= users(cleo)
    assert "equal" in machine.as_user(bob, "accounts").stderr


# --- admins ---------------------------------------------------------------------------------------


def test_admins_by_group_and_root_read_logs_and_cancel(
    machine: Machine, ada: User, cleo: User
) -> None:
    for admin in (cleo, None):
        run_id = running(machine, ada, "sh", "-c", "echo hello from ada; sleep 600")
        until(partial(_says_hello, machine, admin, run_id))
        machine.as_user(admin, "cancel", "--now", run_id)
        assert ended(machine, ada, run_id)["state"] == "CANCELLED"


def _says_hello(machine: Machine, who: User | None, run_id: str) -> bool:
    return "hello from ada" in machine.as_user(who, "logs", run_id).stdout


def test_the_daemon_itself_and_its_nodes_are_for_admins(
    machine: Machine, bob: User, cleo: User
) -> None:
    node = machine.status(bob, machine.submit(bob, "--", "true"))
    assert node["user"] == bob.name
    for words in (("daemon", "stop", "--system"), ("daemon", "reload", "--system")):
        done = machine.as_user(bob, *words, check=False)
        assert done.returncode == 4
        assert "HR-CONTROL-007" in done.stderr
    machine.as_user(cleo, "daemon", "reload", "--system")
    nowhere = "/run/there/is/none"
    words = ("daemon", "start", "--system")
    done = machine.as_user(bob, *words, check=False, HEADRACE_SYSTEM_SOCKET=nowhere)
    assert done.returncode == 4
    assert "HR-CONTROL-008" in done.stderr


def test_a_socket_of_another_users_is_not_taken_for_the_machines(
    machine: Machine, bob: User, ada: User
) -> None:
    place = str(bob.home / "fake.sock")
    fake = subprocess.Popen(
        [
            machine.program, "-c",
            "import socket, sys, os, time; os.umask(0); s = socket.socket(socket.AF_UNIX);"
            f"s.bind({place!r}); s.listen(); print(flush=True); time.sleep(60)",
        ],
        user=bob.uid, group=bob.gid, extra_groups=[bob.gid], stdout=subprocess.PIPE,
    )  # fmt: skip
    assert fake.stdout is not None
    fake.stdout.readline()
    bob.home.chmod(0o755)
    done = machine.as_user(ada, "ps", check=False, HEADRACE_SYSTEM_SOCKET=place)
    fake.kill()
    fake.wait()
    fake.stdout.close()
    assert done.returncode == 4
    assert "HR-CONTROL-011" in done.stderr


# --- what users may do to their own folders -------------------------------------------------------

Attack = Callable[[Path], None]


def _link_to_etc(folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    folder.symlink_to("/etc")


def _event_link(folder: Path) -> None:
    (folder / "events" / "lead.jsonl").unlink()
    (folder / "events" / "lead.jsonl").symlink_to("/etc/shadow")


def _event_pipe(folder: Path) -> None:
    (folder / "events" / "lead.jsonl").unlink()
    os.mkfifo(folder / "events" / "lead.jsonl")


def _huge(folder: Path) -> None:
    with (folder / "events" / "lead.jsonl").open("ab") as file:
        file.truncate(1 << 40)


def _lies(folder: Path) -> None:
    lines = (folder / "events" / "lead.jsonl").read_text().splitlines()
    end = {
        "kind": "ended",
        "state": "ROOT",
        "exit_code": 10**30,
        "detail": "\x1b[31m" + "x" * 10_000,
    }
    for state in ("ROOT", "COMPLETED"):
        lines.append(json.dumps({**json.loads(lines[0]), "event": {**end, "state": state}}))
    (folder / "events" / "lead.jsonl").write_text("\n".join(lines) + "\n")


def _nothing(folder: Path) -> None:
    folder.rename(folder.with_name("gone"))


@pytest.mark.parametrize("attack", [_link_to_etc, _event_link, _event_pipe, _huge, _lies, _nothing])
def test_what_users_do_to_their_own_folders_harms_only_their_own_runs(
    machine: Machine, ada: User, bob: User, attack: Attack
) -> None:
    before = {path: path.lstat() for path in Path("/etc").iterdir()}
    run_id = running(machine, bob, "sleep", "600")
    folder = folder_of(machine, bob, run_id)
    until(lambda: (folder / "events" / "lead.jsonl").exists())
    attack(folder)
    machine.as_user(bob, "cancel", "--now", run_id)
    row = ended(machine, bob, run_id)
    assert row["state"] in ("CANCELLED", "COMPLETED", "FAILED")
    assert "\x1b" not in row["reason"]
    assert len(row["reason"]) < 400
    assert "root:" not in json.dumps(row)
    other = machine.submit(ada, "--", "true")
    assert ended(machine, ada, other)["state"] == "COMPLETED"
    assert {path: path.lstat() for path in Path("/etc").iterdir()} == before
    assert machine.daemon is not None
    assert machine.daemon.poll() is None


def test_a_folder_that_waits_as_a_link_to_etc_is_moved_aside(machine: Machine, bob: User) -> None:
    last = machine.submit(bob, "--", "true")
    runs = folder_of(machine, bob, last).parent
    number = int(last.rpartition("-")[2]) + 1
    trap = runs / f"trap-{number}"
    trap.symlink_to("/etc")
    run_id = machine.submit(bob, "--name", "trap", "--", "true")
    assert run_id == trap.name
    assert ended(machine, bob, run_id)["state"] == "COMPLETED"
    assert not trap.is_symlink()
    assert not Path("/etc/order.json").exists()


def test_a_stopped_errand_holds_up_nobody_else(machine: Machine, ada: User, bob: User) -> None:
    """Bob stops whatever of his turns up, the daemon's errands included."""
    stopper = subprocess.Popen(
        [
            machine.program, "-c",
            "import os, signal, time\n"
            "end = time.time() + 20\n"
            "while time.time() < end:\n"
            "    for pid in filter(str.isdigit, os.listdir('/proc')):\n"
            "        try:\n"
            "            if b'as_user' in open(f'/proc/{pid}/cmdline', 'rb').read():\n"
            "                os.kill(int(pid), signal.SIGSTOP)\n"
            "        except OSError: pass\n",
        ],
        user=bob.uid, group=bob.gid, extra_groups=[bob.gid],
    )  # fmt: skip
    time.sleep(0.5)
    theirs = machine.submit(bob, "--", "true")
    start_s = time.monotonic()
    run_id = machine.submit(ada, "--", "true")
    assert ended(machine, ada, run_id)["state"] == "COMPLETED"
    assert time.monotonic() - start_s < 15
    stopper.kill()
    stopper.wait()
    machine.as_user(bob, "cancel", "--now", theirs)
    assert ended(machine, bob, theirs)["state"] in ("CANCELLED", "FAILED", "COMPLETED")
