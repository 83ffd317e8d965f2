"""A small language model that trains on 2 nodes, slowly until it is told to hurry."""

import sys
from pathlib import Path
from typing import Any

from tests.contract.places import Place
from tests.integration.site import until

from headrace import data
from headrace.core.events import AttemptStarted, StepMetric, decode_metric
from headrace.core.process import marked
from headrace.core.rundir import read_lines
from headrace.core.states import State

STEPS, EVERY = 50, 5
END_S = 120.0
_PACED = Path(__file__).with_name("paced.py")
_SHAPE = ("--width", "32", "--layers", "2", "--heads", "2", "--global-batch", "8", "--warm-up", "5")


def make_corpus(folder: Path) -> Path:
    text, out = folder / "text.txt", folder / "text.tokens"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(400)))
    data.pack_text([text], out, window=32)
    return out


def agent_of(root: Path, node: str) -> int:
    names = {
        pid: Path(f"/proc/{pid}/comm").read_text() for pid in marked("HEADRACE_RUN_DIR", str(root))
    }
    return next(pid for pid, name in names.items() if name.startswith(f"agent:{node}"))


class Training:
    """A run of the workload. ``paced``: it is slow until ``hurry``."""

    def __init__(
        self,
        place: Place,
        corpus: Path,
        *,
        ranks: int = 2,
        paced: bool = True,
        **fields: Any,  # noqa: ANN401
    ) -> None:
        self.place = place
        self._go = place.folder / "go"
        if not paced:
            self.hurry()
        given: dict[str, Any] = {
            "nodes": 2,
            "ranks_per_node": ranks,
            "checkpoint": {"every": f"{EVERY} steps"},
        } | fields
        program = (sys.executable, str(_PACED), str(place.folder))
        words = ("--corpus", str(corpus), "--steps", str(STEPS), *_SHAPE)
        self.id = place.submit(*program, *words, **given).id
        self.root = place.folder_of(self.id).root

    @property
    def job(self) -> str:
        return self.place.job(self.id)

    def hurry(self) -> None:
        self._go.touch()

    def events_of(self, kind: type[Any]) -> list[tuple[float, Any]]:
        entries = [entry for _, entry in self.place.events(self.id)]
        return [(one.time_s, one.event) for one in entries if isinstance(one.event, kind)]

    def attempts(self) -> int:
        return len(self.events_of(AttemptStarted))

    def nodes(self) -> tuple[str, ...]:
        """Those of the newest attempt, the lead's first."""
        found: tuple[str, ...] = self.events_of(AttemptStarted)[-1][1].nodes
        return found

    def rank(self, number: int) -> int:
        ours, ranks = marked("HEADRACE_RUN_DIR", str(self.root)), marked("RANK", str(number))
        return min(set(ours) & set(ranks))

    def steps(self) -> list[tuple[int, StepMetric]]:
        """(attempt, step of any rank), as far as they were written down."""
        return [
            (int(path.parts[-4]), metric)
            for path in self.root.glob("attempts/*/nodes/*/metrics.jsonl")
            for metric in map(decode_metric, read_lines(path))
            if isinstance(metric, StepMetric)
        ]

    def furthest(self) -> int:
        return max((metric.step for _, metric in self.steps()), default=-1)

    def losses(self) -> dict[int, float]:
        """A step that was done twice must have had the same loss both times."""
        found: dict[int, float] = {}
        for _, metric in self.steps():
            if metric.rank == 0 and (loss := metric.values["loss"]) is not None:
                assert found.setdefault(metric.step, loss) == loss, metric.step
        return dict(sorted(found.items()))

    def end(self) -> dict[int, float]:
        until(lambda: self.furthest() == STEPS, END_S)
        (row,) = self.place.end(self.id)
        assert row.state is State.COMPLETED, row
        return self.losses()

    def account(self) -> str:
        """All that it left to read: its place's account, steps."""
        steps = sorted((attempt, one.step, one.rank, one.time_s) for attempt, one in self.steps())
        return f"{self.place.account(self.id)}\nattempt, step, rank, time: {steps}"
