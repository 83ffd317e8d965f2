"""One squeue for all commands of a user."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.engines.slurm.errors import SlurmUnreachable
from headrace.engines.slurm.poll import Poller


class Controller:
    """Counts what it is asked; ``takes_s`` for each answer, or none at all."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.takes_s = 0.0
        self.asked: list[float] = []
        self.is_down = False

    def __call__(self, argv: Sequence[str]) -> str:
        self.asked.append(self.now_s)
        self.now_s += self.takes_s
        if self.is_down:
            raise SlurmUnreachable(argv, "Unable to contact slurm controller")
        return "7|7|N/A|RUNNING|N/A|N/A|p|1|1|n1|gpt|None\n"


@pytest.fixture
def controller() -> Controller:
    return Controller()


def poller(path: Path, controller: Controller) -> Poller:
    return Poller(path / "queue.json", "ada", controller, now_s=lambda: controller.now_s)


def test_many_commands_within_12_s_ask_once(tmp_path: Path, controller: Controller) -> None:
    for _ in range(20):
        assert len(poller(tmp_path, controller).poll().rows) == 1
        controller.now_s += 0.5
    assert len(controller.asked) == 1
    controller.now_s += 2.5
    poller(tmp_path, controller).poll()
    assert len(controller.asked) == 2


def test_a_slow_controller_is_asked_less(tmp_path: Path, controller: Controller) -> None:
    controller.takes_s = 3.0
    for _ in range(600):
        poller(tmp_path, controller).poll()
        controller.now_s += 1.0
    assert len(controller.asked) <= 11


def test_an_answer_of_before_is_used_while_the_controller_is_down(
    tmp_path: Path, controller: Controller
) -> None:
    poller(tmp_path, controller).poll()
    controller.is_down = True
    for _ in range(600):
        found = poller(tmp_path, controller).poll()
        controller.now_s += 1.0
    assert found.problem == "Unable to contact slurm controller"
    assert len(found.rows) == 1
    assert len(controller.asked) <= 8


def test_a_controller_that_never_answered_is_an_error(
    tmp_path: Path, controller: Controller
) -> None:
    controller.is_down = True
    with pytest.raises(SlurmUnreachable):
        poller(tmp_path, controller).poll()


def test_an_act_makes_the_answer_old_in_a_second(tmp_path: Path, controller: Controller) -> None:
    one = poller(tmp_path, controller)
    one.poll()
    controller.now_s += 0.5
    one.forget()
    one.poll()
    assert len(controller.asked) == 1
    controller.now_s += 0.6
    one.poll()
    assert len(controller.asked) == 2
