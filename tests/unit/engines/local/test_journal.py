"""The journal of root's: what was acknowledged is there, a torn end is not, damage is noticed."""

import os
from pathlib import Path

import pytest

from headrace.core.events import Ended, Entry, Held
from headrace.core.process import Process
from headrace.engines.local.journal import (
    Accepted,
    Happened,
    Journal,
    JournalDamaged,
    Kept,
    Led,
    Line,
    entries_of,
)
from headrace.engines.local.submission import Element, Submission
from headrace.schedule.request import Request


def submission(number: int) -> Submission:
    return Submission(
        host="box",
        run_id=f"gpt-{number}",
        number=number,
        name="gpt",
        user="ada",
        token="0" * 32,
        submitted_s=1.0,
        priority=0,
        request=Request(),
        restarts_max=3,
        restart_on=("node",),
        uid=1000,
        runs="/home/ada/runs",
    )


def accepted(number: int) -> Accepted:
    element = Element(submission=submission(number), job="name: gpt\n")
    return Accepted(elements=(element,), script=None)


def happened(number: int, seq: int) -> Happened:
    return Happened(
        run_id=f"gpt-{number}", entry=Entry(seq=seq, attempt=0, time_s=2.0, event=Held(by="ada"))
    )


def opened(folder: Path) -> tuple[Journal, list[Line]]:
    journal = Journal(folder)
    return journal, list(journal.read())


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    led = Led(run_id="gpt-1", process=Process(boot_id="b", pid=7, start_ticks=9), kill_at_s=None)
    journal, none = opened(tmp_path)
    assert none == []
    journal.append(accepted(1))
    journal.append(happened(1, 0), led)
    journal.close()
    assert opened(tmp_path)[1] == [accepted(1), happened(1, 0), led]
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_cut_off_and_the_next_goes_on_after_the_last_good_one(
    tmp_path: Path, cut: int
) -> None:
    journal, _ = opened(tmp_path)
    journal.append(accepted(1))
    journal.append(happened(1, 0))
    journal.close()
    path = tmp_path / "journal"
    os.truncate(path, path.stat().st_size - cut)
    journal, lines = opened(tmp_path)
    assert lines == [accepted(1)]
    journal.append(happened(1, 0))
    journal.close()
    assert opened(tmp_path)[1] == [accepted(1), happened(1, 0)]


def test_a_damaged_line_with_good_ones_after_it_is_an_error(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(accepted(1))
    journal.append(happened(1, 0))
    journal.close()
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes().replace(b"gpt-1", b"gpt-2", 1))
    with pytest.raises(JournalDamaged, match=r"journal:1 is damaged"):
        opened(tmp_path)


def test_a_rewritten_journal_has_a_line_a_run_and_goes_on(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(accepted(1), accepted(2), happened(2, 0))
    ended = Entry(
        seq=0, attempt=0, time_s=3.0, event=Ended(state="COMPLETED", exit_code=0, detail="")
    )
    waiting = Kept(submission=submission(2), entries=(happened(2, 0).entry,), job="name: gpt\n")
    over = Kept(submission=submission(1), entries=(ended,))
    journal.rewrite([waiting], [over])
    journal.append(happened(2, 1))
    journal.close()
    assert opened(tmp_path)[1] == [over, waiting, happened(2, 1)]
    runs = entries_of(Journal(tmp_path))
    assert [(one.run_id, len(entries)) for one, entries in runs] == [("gpt-1", 1), ("gpt-2", 2)]


def test_a_crash_before_the_rename_of_a_rewrite_loses_nothing(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(accepted(1))
    journal.close()
    (tmp_path / "journal.new").write_bytes(b"half a li")
    assert opened(tmp_path)[1] == [accepted(1)]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened(tmp_path)
    journal.append(accepted(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(happened(1, 0))
    journal.append(happened(1, 0))
    journal.close()
    assert opened(tmp_path)[1] == [accepted(1), happened(1, 0)]
