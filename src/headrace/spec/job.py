"""What is asked: a ``JobSpec``, the one type that leaves this room.

Frozen, checked, with units in the names of its resolved values. It says what the user wants and
knows no machine: what is left open (None) is decided by ``plan``, an engine or ``launch``.
Accepted forms are read by ``headrace.spec.forms``; files, flags and ``#SBATCH`` lines by
``headrace.spec.load``.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from headrace.core.order import SessionSettings
from headrace.spec import forms

Framework = Literal["torch", "jax", "tensorflow", "mpi", "none"]


class Part(BaseModel):
    """Base of everything in a job description."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeRange(Part):
    """Elastic between ``min`` and ``max`` nodes; both the same for a run of fixed size."""

    min: int
    max: int

    @property
    def elastic(self) -> bool:
        return self.min < self.max


class GpuRequest(Part):
    """GPUs of each node. ``count`` 0 asks for a run without GPUs."""

    count: int
    type: str | None = None


class DataSource(Part):
    """Where training data lies; ``stage`` names the tier it is copied to before the start."""

    source: str
    stage: str | None = None


class Every(Part):
    """An interval: exactly one is set."""

    steps: int | None = None
    duration_s: int | None = None


class CheckpointSpec(Part):
    """``every`` None: the interval is computed. ``grace_s`` None: measured."""

    every: Every | None = None
    keep: int = 3
    grace_s: int | None = None


class RestartSpec(Part):
    """``on``: preempt, node, hang, oom, error."""

    max: int = 10
    on: tuple[str, ...] = ("preempt", "node", "hang", "error")
    never_on_exit: tuple[int, ...] = ()


class AfterSpec(Part):
    """Run ids to wait for: ended well, ended, ended badly. ``singleton``: alone of its name."""

    ok: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    notok: tuple[str, ...] = ()
    singleton: bool = False


class ArraySpec(Part):
    """``throttle``: how many may run at once; None is no limit."""

    indices: tuple[int, ...]
    throttle: int | None = None


class SlurmSpec(Part):
    """Raw sbatch options by their long name without dashes; "" for an option without value."""

    sbatch: dict[str, str] = {}


class Until(Part):
    """When training is done: exactly one is set."""

    steps: int | None = None
    tokens: int | None = None
    samples: int | None = None
    epochs: float | None = None


class TrainSpec(Part):
    """What plan, resize and report need to know. ``layout`` None: chosen by plan."""

    model: str | None = None
    optimizer: str | None = None
    precision: str | None = None
    global_batch: int | None = None
    sequence: int | None = None
    until: Until | None = None
    layout: dict[str, int | str] | None = None


class JobSpec(Part):
    """One run, or a family of runs when ``sweep`` or ``array`` is set."""

    name: str = "run"
    run: str | None = None
    python: str | None = None
    command: tuple[str, ...] | None = None
    script: Path | None = None
    framework: Framework = "torch"
    nodes: Annotated[NodeRange, BeforeValidator(forms.nodes)] = NodeRange(min=1, max=1)
    gpus_per_node: Annotated[GpuRequest | None, BeforeValidator(forms.gpus)] = None
    ranks_per_node: int | None = None
    cpus_per_rank: int | None = None
    memory_bytes: int | None = None
    time_s: int | None = None
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    priority: int = 0
    workdir: Path = Path(".")
    setup: str | None = None
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    image: str | None = None
    data: tuple[DataSource, ...] = ()
    checkpoint: CheckpointSpec = CheckpointSpec()
    restart: RestartSpec = RestartSpec()
    after: AfterSpec = AfterSpec()
    sweep: dict[str, tuple[str, ...]] = {}
    array: ArraySpec | None = None
    slurm: SlurmSpec = SlurmSpec()
    train: TrainSpec | None = None
    notes: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """What a rank executes; for ``script_semantics``, what the first node executes once."""
        if self.command is not None:
            return self.command
        if self.python is not None:
            return ("python", "-m", "headrace.launch.call", self.python)
        if self.script is not None:
            return ("/bin/bash", str(self.script))
        return ("/bin/bash", "-c", self.run or "")

    @property
    def script_semantics(self) -> bool:
        """A batch script runs once, on the first node, as under Slurm."""
        return self.script is not None

    @property
    def restart_given(self) -> bool:
        """Whether the description itself says when to restart."""
        return "restart" in self.model_fields_set

    def session(self) -> SessionSettings:
        """What the ranks' training session is told."""
        train = self.train or TrainSpec()
        until = train.until or Until()
        every = self.checkpoint.every or Every()
        return SessionSettings(
            checkpoint_every_s=every.duration_s,
            checkpoint_every_steps=every.steps,
            checkpoint_keep=self.checkpoint.keep if "checkpoint" in self.model_fields_set else None,
            global_batch=train.global_batch,
            sequence=train.sequence,
            until_steps=until.steps,
            until_tokens=until.tokens,
            until_samples=until.samples,
            until_epochs=until.epochs,
            optimizer=train.optimizer,
            precision=train.precision,
            model=train.model,
            layout=train.layout,
        )
