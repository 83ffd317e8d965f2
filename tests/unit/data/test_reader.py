import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from tests.integration.site import until

from headrace.data.reader import Reader


def reader(plan: Iterator[int], **given: int) -> Reader[int, int]:
    return Reader(plan, lambda task: task * 10, **({"threads": 2, "ahead": 3} | given))


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_plan_and_then_end(threads: int) -> None:
    made = reader(iter(range(100)), threads=threads)
    assert [made.take() for _ in range(100)] == [task * 10 for task in range(100)]
    for _ in range(2):
        with pytest.raises(StopIteration):
            made.take()


def test_a_result_that_is_late_holds_up_those_after_it_and_no_more_than_asked_are_made() -> None:
    go, begun = threading.Event(), []

    def work(task: int) -> int:
        begun.append(task)
        if task == 0:
            go.wait()
        return task

    made = Reader(iter(range(20)), work, threads=2, ahead=3)
    threading.Timer(0.3, go.set).start()
    assert made.take() == 0
    assert begun[:3] == [0, 1, 2]
    assert len(begun) <= 4  # one for the room of the first
    assert [made.take() for _ in range(19)] == list(range(1, 20))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_an_error_comes_out_where_its_result_would_have_and_again(threads: int) -> None:
    def work(task: int) -> int:
        if task == 5:
            raise ValueError("five")
        return task

    made = Reader(iter(range(50)), work, threads=threads, ahead=4)
    assert [made.take() for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(ValueError, match="five"):
            made.take()


def test_an_error_of_the_plan_comes_out_after_the_results_before_it() -> None:
    def plan() -> Iterator[int]:
        yield from range(3)
        raise ValueError("no more places")

    made = reader(plan())
    assert [made.take() for _ in range(3)] == [0, 10, 20]
    with pytest.raises(ValueError, match="no more places"):
        made.take()


def test_stopping_wakes_who_waits_and_ends_the_threads() -> None:
    go = threading.Event()
    made = Reader(iter(range(9)), lambda task: go.wait() and task, threads=2, ahead=4)
    threading.Timer(0.2, made.stop).start()
    with pytest.raises(StopIteration):
        made.take()
    go.set()
    made.wait(10.0)
    assert not any(thread.is_alive() for thread in made._threads)
    with pytest.raises(StopIteration):
        made.take()


def test_threads_that_wait_for_room_end_when_stopped() -> None:
    made = reader(iter(range(100)), threads=3, ahead=2)
    assert made.take() == 0
    time.sleep(0.1)
    made.stop()
    made.wait(10.0)
    assert not any(thread.is_alive() for thread in made._threads)


def test_what_was_made_ahead_is_let_go_of_when_stopped() -> None:
    class Result:
        pass

    held: weakref.WeakSet[Result] = weakref.WeakSet()

    def work(_: int) -> Result:
        held.add(result := Result())
        return result

    made = Reader(iter(range(100)), work, threads=1, ahead=4)
    made.take()
    until(lambda: len(held) == 4)
    made.stop()
    made.wait(10.0)
    assert len(held) == 0
