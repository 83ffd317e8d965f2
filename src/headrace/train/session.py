"""The session around a training loop: the same script on one process or on many ranks.

The script keeps its own loop, model and optimizer. The session meets the other ranks, wraps the
model, feeds it, divides by the global count, saves and restores, answers a stop, and says how it
goes. It does not choose a loss, an optimizer or a schedule, and changes no determinism setting of
torch: killed and resumed at the same world size and threads, training on CPU goes on bit for bit;
on a GPU as far as the kernels in use are deterministic.
"""

import os
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Unpack, cast

import torch
from torch import nn

from headrace import data
from headrace.core.events import Noted, PhaseChanged, SessionEnded, StopAgreed
from headrace.core.order import SessionSettings
from headrace.core.records import to_builtins
from headrace.core.rundir import RunDir
from headrace.train.agreement import Agreement, Wish
from headrace.train.batches import Batches, damage_note, evaluation_micros
from headrace.train.channel import open_channel
from headrace.train.data_parallel import clip
from headrace.train.environment import Environment, read_environment
from headrace.train.errors import Contradiction, OutOfOrder
from headrace.train.evaluation import Evaluation
from headrace.train.group import Group, join
from headrace.train.pending import Logged, logged, read
from headrace.train.randomness import INITIALISATION, reseed
from headrace.train.reporter import Reporter, StepRecord
from headrace.train.rhythm import Rhythm
from headrace.train.saving import Position, Saving, shared_memory
from headrace.train.settings import choose, degrees, keep_of, precision_of
from headrace.train.sharding import spread
from headrace.train.state import Tracked, sort_tracked
from headrace.train.step import Expected, Micro, Step
from headrace.train.stop import StopFlag
from headrace.train.stopwatch import Stopwatch
from headrace.train.until import choose_until

AFTER_STEPS = "after"  # the phase of what a script does behind its loop
LAST_WORDS_S = 1.0  # for the agent of a session that failed


class Phase:
    """A part of a run that is no step: generating samples, building an index."""

    def __init__(self, session: "Session") -> None:
        self._session = session

    def stop_agreed(self) -> bool:
        """Whether to leave now: the same answer on all ranks, which must all ask. Says also that
        this rank is alive."""
        return self._session.stop_agreed()


class Session:
    """Made by ``session``. ``step``: finished optimizer steps, also of earlier attempts."""

    def __init__(
        self,
        *,
        environment: Environment,
        group: Group,
        stop: StopFlag,
        reporter: Reporter,
        watch: Stopwatch,
        seed: int,
        start: Path | None = None,
    ) -> None:
        self.settings: SessionSettings = environment.settings
        self.run_dir = RunDir(environment.run_dir)
        self.group = group
        self.watch = watch
        self.seed = seed
        self.step = 0
        self.samples = 0
        self.stopped = False
        self.expected = Expected(group)
        self._degrees = degrees(self.settings.layout, world_size=group.world_size)
        self._precision = precision_of(self.settings.precision)
        self._stop = stop
        self._reporter = reporter
        self.agreement = Agreement(group)
        self._saving = Saving(
            self.run_dir.checkpoints,
            keep=keep_of(self.settings),
            group=group,
            reporter=reporter,
            start=start,
            memory=shared_memory(environment, group),
        )
        self._rhythm = Rhythm(self.settings, self.run_dir, group, cost=lambda: self._saving.cost)
        self._save_agreed = False
        self._phase = "init"
        self._models: list[nn.Module] = []
        self._parameters: dict[nn.Module, list[nn.Parameter]] = {}
        self._tracked: Tracked | None = None
        self._data_state: data.State | None = None
        self._source: data.Batches | None = None
        self._values: dict[str, Logged] = {}
        self._loss: Logged | None = None
        self._left: data.Batches | None = None
        self._in_step = False
        self._prepared = False
        self._open = True

    # --- where this process is -----------------------------------------------------------------

    @property
    def rank(self) -> int:
        return self.group.rank

    @property
    def world_size(self) -> int:
        return self.group.world_size

    @property
    def device(self) -> torch.device:
        return self.group.device

    @property
    def loss(self) -> float | None:
        """The last value logged as ``loss``. Waits for the device if it lies there."""
        return None if self._loss is None else read(self._loss)

    @contextmanager
    def first_rank_first(self) -> Iterator[None]:
        """Rank 0 does it alone, then the others do: for a file that the first one makes."""
        if self.rank > 0:
            self.group.from_first(0)
        yield
        if self.rank == 0:
            self.group.from_first(0)

    # --- building --------------------------------------------------------------------------------

    @contextmanager
    def init(self) -> Iterator[None]:
        """Models made inside lie on this rank's device and are the same on every rank."""
        reseed(self.device, seed=self.seed, step=INITIALISATION, data_rank=0)
        with self.device:
            yield

    def parallelize(self, model: nn.Module, *, unused_parameters: bool = False) -> nn.Module:
        """The model as it is to be trained: as ``fully_shard`` has split it, else by the layout.

        Build the optimizer from what this returns.
        ``unused_parameters``: some take no part in some forwards (DDP then searches for them).
        """
        parallel = spread(model, self.group, self._degrees, unused=unused_parameters)
        self._models.append(parallel)
        self._parameters[parallel] = list(parallel.parameters())
        return parallel

    def models(self) -> Sequence[nn.Module]:
        """All that ``parallelize`` returned."""
        return self._models

    def parameters_of(self, model: nn.Module) -> Sequence[nn.Parameter]:
        """Those of a model that ``parallelize`` returned are known; walking a model takes time."""
        known = self._parameters.get(model)
        return list(model.parameters()) if known is None else known

    def track(self, **objects: object) -> None:
        """Name what belongs to the training state, and restore it from the newest good checkpoint.

        Models, optimizers, and anything else with ``state_dict`` and ``load_state_dict`` of plain
        values and tensors. Raise ``UntrackedParameter``, ``UnsavableState``,
        ``CheckpointMismatch``, ``CheckpointUnseen``.
        """
        if self._tracked is not None:
            raise OutOfOrder(
                "run.track was called twice",
                why="the first call has restored a checkpoint; the second would be left out of it",
                remedy="name everything in one call of run.track",
            )
        self._tracked = sort_tracked(objects)
        with self.phase("restore"):
            position = self._saving.restore(self._tracked)
        if position is not None:
            if position.data is not None:
                self._data_state = data.decode_state(position.data)
            self.step, self.samples = position.step, position.samples
            self._loss = position.loss
            self.expected.per_sample = list(position.expected)

    def batches(
        self,
        dataset: data.Source,
        *,
        global_batch: data.Sizes | None = None,
        seed: int = 0,
        micro_batch: int | None = None,
        reading: data.Reading = data.PLAIN,
        **asking: Unpack[data.Besides],
    ) -> Batches:
        """Training batches of ``dataset``, in the same order at any world size.

        ``global_batch``: samples of a step over all ranks, or ``{step: samples}``; ``micro_batch``:
        of a forward on one rank. ``reading``: threads, decoding, damage. ``weights``, ``order``,
        ``epochs``: see ``data.ask``. Raise ``Contradiction``, ``MissingValue`` or
        ``BatchesRefused``.
        """
        settings = self.settings
        layout = settings.layout or {}
        in_job = layout.get("micro_batch")
        if dataset.is_tokens:
            choose("sequence", cast(data.TokenDataset, dataset).window, settings.sequence)
        size: data.Sizes
        if isinstance(global_batch, Mapping):
            if settings.global_batch is not None:
                raise Contradiction(
                    "global_batch", in_code=dict(global_batch), in_job=settings.global_batch
                )
            size = global_batch
        else:
            size = choose("global_batch", global_batch, settings.global_batch, needed=True)
        return Batches(
            dataset=dataset,
            asked=data.ask(dataset, global_batch=size, seed=seed, **asking),
            micro_batch=choose(
                "micro_batch", micro_batch, in_job if isinstance(in_job, int) else None
            ),
            group=self.group,
            reading=reading,
        )

    # --- training --------------------------------------------------------------------------------

    def total_steps(self, batches: Batches, until: str | int | None = None) -> int:
        """Optimizer steps of the whole run: for a schedule of the learning rate."""
        needed = batches.asked.epochs is None
        end = choose_until(until, self.settings, needed=needed)
        return batches.steps(end, self._data_state)

    def steps(self, batches: Batches, until: str | int | None = None) -> Iterator[Step]:
        """One iteration is one optimizer step, from where the checkpoint left off.

        Ends when ``until`` is reached or a stop is agreed on (``run.stopped``); either way the
        state is saved. ``until``: a number of steps, or "300 steps", "3B tokens", "2 epochs".
        Leaving the loop with ``break`` counts the step in which it happens; an error does not.
        """
        self._finish_left_step()
        total = self.total_steps(batches, until)
        if self._tracked is None:
            raise OutOfOrder(
                "run.steps came before run.track",
                why="without it nothing would be saved, and a restart would begin anew",
                remedy="run.track(model=model, optimizer=optimizer)",
            )
        return self._steps(self._tracked, batches, total)

    def _steps(self, tracked: Tracked, batches: Batches, total: int) -> Iterator[Step]:
        self._reporter.total_steps = total
        self._rhythm.begin()
        self._phase = AFTER_STEPS
        with batches.read(self._data_state) as source, self.phase("steps"):
            self._record(batches, source)
            self.watch.lap()
            while self.step < total and not self._stop_or_save(tracked):
                with self.watch.during("data"):
                    batch = next(source)
                    micros = batches.micros(batch)
                self._note_damage(batch)
                number = self.step + 1
                reseed(self.device, seed=self.seed, step=number, data_rank=self.rank)
                self._in_step = True
                try:
                    yield Step(number, micros, global_batch=batch.global_batch, session=self)
                except GeneratorExit:  # a break, or an error on its way out: not known here
                    self._left = source
                    return
                self._finish_step(tracked, source)
            self._finish_steps(tracked)

    def _note_damage(self, batch: data.Batch) -> None:
        if batch.damaged:
            self._reporter.say(damage_note(batch, rank=self.rank, step=self.step))

    def _record(self, batches: Batches, source: data.Batches) -> None:
        """Write down which samples the steps take, and say what is other than before."""
        if self.rank == 0:
            if self._data_state and (text := data.changed(self._data_state, source.state)):
                self._reporter.say(Noted(level="info", text=text))
            try:
                data.record(self.run_dir.data, batches.dataset, source.state)
            except OSError as error:
                text = f"no record of which samples steps take: {error}"
                self._reporter.say(Noted(level="warning", text=text))

    def _finish_left_step(self) -> None:
        """Count the step that was left by ``break``, once it is clear that it was not an error."""
        if self._left is not None and self._tracked is not None:
            source, self._left = self._left, None
            self._finish_step(self._tracked, source)
            self._finish_steps(self._tracked)

    def _stop_or_save(self, tracked: Tracked) -> bool:
        """At a boundary: whether to stop here; save if that was agreed on."""
        with self.watch.during("sync"):
            self._heed(self.agreement.at_boundary(self.wish()))
        if self._save_agreed and not self.stopped:
            self._save(tracked, must=False)
        return self.stopped

    def wish(self) -> Wish:
        """What this rank wants all to do after the step."""
        wish = Wish.STOP if self._stop.is_set else Wish.NOTHING
        return wish | Wish.SAVE if self._rhythm.due_now() else wish

    def _heed(self, agreed: Wish) -> None:
        self._save_agreed = self._save_agreed or Wish.SAVE in agreed
        if Wish.STOP in agreed and not self.stopped:
            self.stopped = StopFlag.obeyed = True
            self._reporter.say(StopAgreed(rank=self.rank, step=self.step))

    def _finish_step(self, tracked: Tracked, source: data.Batches) -> None:
        self._in_step = False
        self.step += 1
        self.samples = source.consumed
        self._source = source
        self._loss = self._values.get("loss", self._loss)
        if not self._prepared:
            self._prepared = True
            with self.watch.during("checkpoint"):
                self._saving.prepare(tracked, self._position())
        if self._rhythm.due_after(self.step):
            self._save(tracked, must=False)
        with self.watch.during("log"):
            self._saving.poll()
            step_s, seconds = self.watch.lap()
            self._report(step_s, seconds)

    def _finish_steps(self, tracked: Tracked) -> None:
        if self._source is not None:
            self._data_state = self._source.state  # where another loop goes on
        if self._saving.newest_step != self.step:
            self._save(tracked, must=True)

    def _save(self, tracked: Tracked, *, must: bool) -> None:
        self._save_agreed = False
        self._rhythm.begin()
        with self.watch.during("checkpoint"):
            self._saving.save(tracked, self._position(), must=must)

    def _position(self) -> Position:
        state = self._data_state if self._source is None else self._source.state
        return Position(
            step=self.step,
            samples=self.samples,
            loss=self.loss,
            expected=tuple(self.expected.per_sample),
            world_size=self.world_size,
            data=None if state is None else to_builtins(state),
        )

    def autocast(self) -> AbstractContextManager[None]:
        """The job file's precision for a forward; ``step.backward`` opens it by itself."""
        if self._precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._precision)

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> torch.Tensor:
        """Scale gradients so that their norm is at most ``max_norm``; return the norm before."""
        return clip(self.parameters_of(model), max_norm)

    # --- everything else -------------------------------------------------------------------------

    def evaluate(
        self, dataset: data.Source, *, batch: int = 16, reading: data.Reading = data.PLAIN
    ) -> Evaluation:
        """All samples once over all ranks, ``batch`` at a time on each; ends early at a stop."""
        self._finish_left_step()

        def micros() -> Generator[Micro, None, None]:
            with self.phase("evaluate"):
                yield from evaluation_micros(
                    dataset,
                    batch=batch,
                    group=self.group,
                    reading=reading,
                    note=self._note_damage,
                )

        return Evaluation(micros(), group=self.group, stopping=self.stop_agreed)

    def stop_agreed(self) -> bool:
        """See ``Phase.stop_agreed``."""
        self._heed(self.agreement.settle(self.wish()))
        self._reporter.beat(self.step)
        return self.stopped

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Say what this rank does, so that a long part without steps is not taken for a hang."""
        before = self._phase
        self._enter(name)
        try:
            yield Phase(self)
        finally:
            if self._open:
                self._enter(before)

    def _enter(self, name: str) -> None:
        self._phase = name
        self._reporter.say(PhaseChanged(rank=self.rank, phase=name, step=self.step))

    def log(self, **values: float | torch.Tensor) -> None:
        """Record numbers with the current step; waits for no other rank and for no GPU."""
        with self.watch.during("log"):
            for name, value in values.items():
                self._values[name] = logged(value)
            self._saving.hear(self._values)
            if not self._in_step:
                self._loss = self._values.get("loss", self._loss)
                self._report(0.0, {})

    def _report(self, step_s: float, seconds: dict[str, float]) -> None:
        values, self._values = self._values, {}
        self._reporter.step(
            StepRecord(
                step=self.step,
                time_s=time.time(),
                samples=self.samples,
                step_s=step_s,
                seconds=seconds,
                values=values,
            )
        )

    def finish(self) -> None:
        """Wait for the last checkpoint and say goodbye. Called on leaving the session."""
        self._finish_left_step()
        with self.phase("checkpoint"):
            self._saving.close(self.step)
        self._reporter.end(
            SessionEnded(
                rank=self.rank,
                step=self.step,
                samples=self.samples,
                loss=self.loss,
            )
        )

    def abandon(self) -> None:
        """The script failed: save nothing more; what is being written is finished."""
        self._open = False
        self._saving.close(self.step, failed=True)


@contextmanager
def session(*, seed: int = 0, start: Path | str | None = None) -> Iterator[Session]:
    """Join the ranks, yield the session, leave them.

    Works under ``headrace run``, under torchrun, and under plain ``python`` as a world of one; the
    run directory is then ``headrace-runs/<script>`` in the working directory unless
    ``HEADRACE_RUN_DIR`` says otherwise. ``seed`` decides initial weights and dropout. ``start``: a
    checkpoint, or a folder of them, to begin from while the run has none of its own. SIGTERM and
    SIGUSR2 ask for a stop while the session is open. Raise ``BadEnvironment``.
    """
    environment = read_environment(os.environ, script=sys.argv[0], cwd=Path.cwd())
    os.environ.pop("HEADRACE_CHANNEL_FD", None)  # not for this rank's children
    with StopFlag() as stop:
        channel = open_channel(environment.channel_fd, on_stop=stop.ask)
        reporter = Reporter(
            rank=environment.rank, channel=channel, stream=sys.stderr, clock=time.monotonic
        )
        run: Session | None = None
        group: Group | None = None
        failed = True
        try:
            reporter.say(PhaseChanged(rank=environment.rank, phase="init", step=0))
            group = join(environment)
            run = Session(
                environment=environment,
                group=group,
                stop=stop,
                reporter=reporter,
                watch=Stopwatch(time.perf_counter),
                seed=seed,
                start=None if start is None else Path(start),
            )
            yield run
            run.finish()
            failed = False
        finally:
            if run is not None and failed:
                run.abandon()
            reporter.close(patience_s=LAST_WORDS_S if failed else None)
            if group is not None:
                group.leave(failed=failed)
