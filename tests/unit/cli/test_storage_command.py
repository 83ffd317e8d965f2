"""``headrace storage``."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.storage import advice_lines, app, layout_text, rows
from headrace.cluster.storage.advice import Advice, Level
from headrace.cluster.storage.apply import Granted
from headrace.cluster.storage.errors import NoLayout
from headrace.cluster.storage.storage import (
    Brick,
    Component,
    Layout,
    Quota,
    Storage,
    Target,
    Volume,
)
from headrace.core.records import replace

FAR = Storage(
    path="/mill/ada",
    looked_at="/mill/ada",
    kind="lustre",
    fstype="lustre",
    source="10.0.0.1@o2ib:/mill",
    mount="/mill",
    network=True,
    version="2.15.5",
    size_bytes=1 << 50,
    free_bytes=1 << 49,
    inodes=1_000_000,
    inodes_free=900_000,
    flock="noflock",
    layout=Layout(
        components=(
            Component(end_bytes=65536, count=0, size_bytes=65536, pattern="mdt"),
            Component(start_bytes=65536, count=-1, size_bytes=4 << 20, pool="flash"),
        ),
        default=True,
        tool="lfs",
    ),
    targets=(
        Target(name="mill-OST0000", kind="ost", index=0),
        Target(name="mill-OST0001", kind="ost", index=1, active=False),
    ),
    rpcs_in_flight=8,
    quota=Quota(used_bytes=1 << 30, hard_bytes=1 << 40),
    unknown=("lfs pool_list: not permitted",),
)


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_has_the_whole_record(tmp_path: Path) -> None:
    said = json.loads(run(tmp_path, "--json"))
    assert said["schema"] == 1
    assert said["storage"]["looked_at"] == str(tmp_path)


def test_text_begins_with_the_path_and_the_file_system(tmp_path: Path) -> None:
    first, second, *_ = run(tmp_path).splitlines()
    assert first == str(tmp_path)
    assert second.startswith("file system  ")


def test_a_parallel_file_system_is_told_in_rows() -> None:
    assert dict(rows(FAR)) == {
        "file system": "Lustre 2.15.5, 10.0.0.1@o2ib:/mill on /mill (lustre)",
        "room": "512 TiB of 1 PiB free",
        "inodes": "900,000 of 1,000,000 free",
        "your quota": "1 GiB used, of 1 TiB",
        "flock": "refused (mounted without it)",
        "new files": "on the metadata server up to 64 KiB, then all x 4 MiB in flash",
        "data targets": "2, 1 out of use",
        "requests in flight": "8 a target",
        "not known": "lfs pool_list: not permitted",
    }


def test_a_volume_names_its_bricks_that_are_down() -> None:
    bricks = (Brick(host="s1", path="/b", up=True), Brick(host="s2", path="/b", up=False))
    volume = Volume(name="mill", bricks=bricks, replica=2)
    found = Storage(
        path="/g",
        looked_at="/g",
        kind="gluster",
        fstype="fuse.glusterfs",
        source="s1:/mill",
        mount="/g",
        network=True,
        volume=volume,
    )
    said = dict(rows(found))
    assert said["volume"] == "mill: 2 bricks, 2 copies"
    assert said["bricks down"] == "s2:/b"


def test_mirrors_are_told_with_the_layout() -> None:
    part = Component(count=2, size_bytes=1 << 20, pattern="raid1")
    assert layout_text(Layout(components=(part,), mirrors=2)) == "2 x 1 MiB raid1, 2 copies"


def test_advice_stands_below_the_facts_what_to_do_first() -> None:
    act = Advice(topic="layout", level=Level.ACT, text="Better.", remedy="lfs setstripe -c 2 /x")
    know = Advice(topic="flock", level=Level.KNOW, text="None.", remedy="use rename")
    assert list(advice_lines([act, know])) == [
        "",
        "! layout: Better.",
        "  → lfs setstripe -c 2 /x",
        "",
        "- flock: None.",
        "  → use rename",
    ]


def test_json_has_the_advice_too(tmp_path: Path) -> None:
    said = json.loads(run(tmp_path, "--json", "--for", "data", "--file-size", "4G", "--ranks", 8))
    assert isinstance(said["advice"], list)


def test_a_purpose_that_is_none_and_a_size_that_is_none_are_refused(tmp_path: Path) -> None:
    for words in (("--for", "fun"), ("--file-size", "big"), ("--apply",)):
        done = CliRunner().invoke(app, [str(tmp_path), *words])
        assert done.exit_code == 2, done.output


def test_a_layout_is_not_set_where_there_is_none(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path), "--apply", "--for", "checkpoint"])
    assert isinstance(done.exception, NoLayout)


def test_apply_shows_the_command_and_what_was_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = replace(FAR, path="/", looked_at="/", empty=True, targets=FAR.targets[:1])
    monkeypatch.setattr("headrace.cluster.storage.of", lambda path: empty)
    command = "lfs setstripe -c 1 -S 4M /"
    assert run("/", "--apply", "--for", "checkpoint", "--dry-run") == f"{command}\n"
    part = Component(count=1, size_bytes=1 << 20)
    layout = Layout(components=(part,), default=True, tool="lfs")
    monkeypatch.setattr(
        "headrace.cluster.storage.apply.apply",
        lambda storage, proposal: Granted(layout=layout, as_asked=False),
    )
    said = run("/", "--apply", "--for", "checkpoint")
    assert said == f"{command}\ngranted: 1 x 1 MiB; asked was 1 x 4 MiB\n"
    as_json = json.loads(run("/", "--apply", "--for", "checkpoint", "--json"))
    assert as_json["granted"]["as_asked"] is False


def test_the_exit_status_says_that_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.cluster.storage.of", lambda path: replace(FAR, answers=False))
    for words in (["/mill/ada"], ["/mill/ada", "--json"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 5
        assert "does not answer" in done.stdout


def test_nothing_is_set_on_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = replace(FAR, answers=False)
    monkeypatch.setattr("headrace.cluster.storage.of", lambda path: hangs)
    done = CliRunner().invoke(app, ["/mill/ada", "--apply", "--for", "checkpoint"])
    assert str(done.exception) == (
        "error HR-STORAGE-006: the file system of /mill/ada does not answer\n"
        "  why: 10.0.0.1@o2ib:/mill gave no answer in time\n"
        "  fix: ask who runs it; headrace storage PATH tells when it is back"
    )


def test_bench_prints_a_row_for_each_number(tmp_path: Path) -> None:
    words = (tmp_path, "--bench", "--own", "--size", "8M", "--time", "1s", "--jobs", 2)
    first, *lines = run(*words).splitlines()
    assert first == f"{tmp_path}: 2 files, 0.01 GiB, by headrace"
    assert [line.split("  ")[0] for line in lines if not line.startswith("-")][:2] == [
        "write",
        "read",
    ]
    said = json.loads(run(*words, "--json"))
    assert said["measured"]["size_bytes"] == 8 << 20
    assert {"what", "how", "bytes_s", "operations_s"} <= said["measured"]["speeds"][0].keys()
