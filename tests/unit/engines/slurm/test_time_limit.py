import sys
from datetime import datetime

import pytest

from headrace.engines.slurm import time_limit
from headrace.engines.slurm.errors import SlurmUnreachable

END = "2026-11-25T10:01:00"
END_S = datetime.fromisoformat(END).timestamp()
BEGAN_S = END_S - 3660.0


def lead_s(limit_s: float) -> float:
    *words, job_id, lead = time_limit.asked_by(
        "4711_3", end_s=END_S, limit_s=limit_s, now_s=BEGAN_S
    )
    assert words == [sys.executable, "-m", "headrace.engines.slurm.time_limit"]
    assert job_id == "4711_3"
    return float(lead)


def test_an_end_that_has_not_changed_is_the_limit_that_was_known() -> None:
    assert time_limit.limit_of({"EndTime": END}, lead_s(3600.0)) == BEGAN_S + 3600.0


def test_an_end_that_was_put_off_moves_the_limit_as_far() -> None:
    later = {"EndTime": "2026-11-25T11:01:00"}
    assert time_limit.limit_of(later, lead_s(3600.0)) == BEGAN_S + 7200.0


@pytest.mark.parametrize(
    ("given", "asked_s"),
    [
        ("04:01:00", 14_400.0),  # as it was handed over, with the lead's 20 s
        ("03:00:00", 14_400.0),
        ("1-00:00:00", None),
        ("UNLIMITED", None),
    ],
)
def test_what_the_job_file_asks_for_holds_no_more_when_the_job_has_been_given_more(
    given: str, asked_s: float | None
) -> None:
    assert time_limit.still_asked(14_400.0, {"TimeLimit": given}) == asked_s
    assert time_limit.still_asked(None, {"TimeLimit": given}) is None
    assert time_limit.still_asked(14_400.0, {}) == 14_400.0


def test_a_job_without_an_end_is_not_asked_for_and_gives_no_answer() -> None:
    assert time_limit.asked_by("4711", end_s=None, limit_s=60.0, now_s=0.0) == ()
    assert time_limit.limit_of({"EndTime": "Unknown"}, 20.0) is None


def test_a_controller_that_does_not_answer_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(argv: list[str], *, timeout_s: float) -> str:
        raise SlurmUnreachable(argv, "nothing came")

    monkeypatch.setattr(time_limit, "call", away)
    assert time_limit.main(["4711", "20.0"]) == 1
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(time_limit, "call", lambda argv, timeout_s: f"JobId=4711 EndTime={END}\n")
    assert time_limit.main(["4711", "20.0"]) == 0
    assert float(capsys.readouterr().out) == END_S - 20.0
