import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.launch.calls import (
    Call,
    Name,
    Unpicklable,
    parse_name,
    read_call,
    read_contents,
    read_outcome,
    write_calls,
    write_error,
    write_value,
)


def made(call: Call) -> object:
    return call.function(*call.args, **call.kwargs)


def test_calls_come_back_each_by_its_place_also_lambdas_and_closures(tmp_path: Path) -> None:
    path, step = tmp_path / "0.calls", 3
    calls = [Call(lambda n: n + step, (1,)), Call(divmod, (7, 2)), Call(int, ("f",), {"base": 16})]
    write_calls(path, calls)
    assert [made(read_call(path, index)) for index in range(3)] == [4, (3, 1), 15]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_function_that_many_calls_share_lies_there_once(tmp_path: Path) -> None:
    path, table = tmp_path / "0.calls", bytes(10_000)
    write_calls(path, [Call(lambda n: table[n], (n,)) for n in [0]])
    one = path.stat().st_size
    function = read_call(path, 0).function
    write_calls(path, [Call(function, (n,)) for n in range(20)])
    assert path.stat().st_size < one + 2_000
    assert len(read_contents(path).parts) == 1 + 1 + 20


def test_what_cannot_be_pickled_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    lock = threading.Lock()
    for call, what in (
        (Call(print, (1, lock)), "argument 2"),
        (Call(print, (), {"end": lock}), "argument end"),
        (Call(lambda: lock), "the function"),
    ):
        with pytest.raises(Unpicklable) as error:
            write_calls(tmp_path / "0.calls", [Call(print), call])
        assert (error.value.index, error.value.what) == (1, what)
        assert "lock" in error.value.why
    assert list(tmp_path.iterdir()) == []


@given(st.builds(Name, *[st.integers(0, 10**6)] * 4))
def test_a_name_of_an_outcome_is_read_as_it_was_written(name: Name) -> None:
    assert parse_name(str(name)) == name


@given(st.text(max_size=12))
def test_any_other_name_is_none(text: str) -> None:
    found = parse_name(text)
    assert found is None or min(found.number, found.attempt, found.rank, found.ranks) >= 0


def test_a_value_comes_back_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "outcomes" / "0.0.0-1"
    assert write_value(path, {"loss": [1.5]})
    outcome, load = read_outcome(path)
    assert (outcome.kind, load()) == ("value", {"loss": [1.5]})
    assert list(path.parent.iterdir()) == [path]


def test_a_value_that_cannot_be_pickled_leaves_words_instead(tmp_path: Path) -> None:
    path = tmp_path / "0.0.0-1"
    assert not write_value(path, [1, threading.Lock()])
    outcome, _ = read_outcome(path)
    assert (outcome.kind, outcome.pickled) == ("lost", False)
    assert "list cannot be pickled" in outcome.summary


class Demanding(Exception):
    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(text)
        self.code = code


@pytest.mark.parametrize(
    ("error", "pickled"),
    [(ValueError("no"), True), (Demanding(1, text="no"), False), (SystemExit(3), False)],
)
def test_an_exception_is_sent_only_if_it_would_come_back(
    tmp_path: Path, error: BaseException, pickled: bool
) -> None:
    path = tmp_path / "0.0.0-1"
    write_error(path, error, "the traceback")
    outcome, load = read_outcome(path)
    assert (outcome.kind, outcome.text, outcome.pickled) == ("error", "the traceback", pickled)
    if pickled:
        assert repr(load()) == repr(error)
