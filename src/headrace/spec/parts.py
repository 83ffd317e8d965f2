"""The parts of a job description: groups of fields, each a frozen type.

A number under a name that ends in its unit is in that unit; text is read as in a job file.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from headrace.spec import amounts, forms
from headrace.spec.origin import WRITTEN, spelled

_RESOLVED = {written: resolved for resolved, written in WRITTEN.items()}
_Count = BeforeValidator(partial(amounts.count, least=1, what="this"))
_FromZero = BeforeValidator(partial(amounts.count, least=0, what="this"))
_List = BeforeValidator(forms.one_or_many)
_Token = BeforeValidator(forms.token)
_RunIds = tuple[Annotated[str, BeforeValidator(forms.run_id)], ...]


class Part(BaseModel):
    """Base of everything in a job description: ``-`` and ``_`` are the same in keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _read_keys(cls, given: Any) -> Any:  # noqa: ANN401
        """Job-file names become resolved ones; there a number is text. None says nothing."""
        if not isinstance(given, Mapping):
            return given
        read: dict[str, Any] = {}
        for key, value in given.items():
            name = spelled(str(key))
            resolved = _RESOLVED.get(name, name)
            resolved = resolved if resolved in cls.model_fields else name
            if resolved in read:
                rule, fix = "a field is set once", f"keep one {name}"
                raise forms.Conflict("stands twice", rule=rule, fix=fix, at=(name,))
            if resolved != name and type(value) in (int, float):
                value = str(value)
            if value is not None or resolved not in cls.model_fields:
                read[resolved] = value
        return read


class NodeRange(Part):
    """Elastic between ``min`` and ``max`` nodes; both the same for a run of fixed size."""

    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]

    @property
    def elastic(self) -> bool:
        return self.min < self.max

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise forms.Invalid("the smaller number comes first", nearest=f"{self.max}-{self.min}")
        return self


class GpuRequest(Part):
    """GPUs of each node. ``count`` 0 asks for a run without GPUs."""

    count: Annotated[int, Field(ge=0)]
    type: str | None = None


class DataSource(Part):
    """Where training data lies; ``stage`` names the tier it is copied to before the start."""

    source: Annotated[
        str,
        BeforeValidator(forms.line),
        Field(title="path", description="File or folder of the data.", examples=["/lustre/corpus"]),
    ]
    stage: Annotated[
        str | None,
        BeforeValidator(forms.words(forms.STAGE_WORDS, "a tier")),
        Field(
            title="tier",
            description="Where each node copies the data before ranks start.",
            examples=["nvme", "memory"],
        ),
    ] = None

    @model_validator(mode="after")
    def _a_path_if_staged(self) -> Self:
        if self.stage is not None and "://" in self.source:
            rule = "what is staged is a file or folder that nodes can read"
            fix = "remove stage, or give source a path"
            raise forms.Conflict("is no path", rule=rule, fix=fix, at=("source",))
        return self


class Every(Part):
    """An interval: exactly one is set."""

    steps: Annotated[int | None, Field(ge=1)] = None
    duration_s: Annotated[int | None, Field(ge=1)] = None


class BestSpec(Part):
    """By which number, as the script logs it, a checkpoint is the best."""

    metric: Annotated[
        str,
        _Token,
        Field(
            title="metric",
            description="What the script logs, such as run.log(loss=..).",
            examples=["loss"],
        ),
    ] = "loss"
    mode: Annotated[
        Literal["min", "max"],
        BeforeValidator(forms.words(("min", "max"), "the mode")),
        Field(
            title="mode",
            description="Whether the least or the greatest is the best.",
            examples=["min", "max"],
        ),
    ] = "min"


class CheckpointSpec(Part):
    """``every`` None: the interval is computed. ``grace_s`` None: measured. ``memory_bytes`` None:
    what the node has plenty of; 0: none."""

    every: Annotated[
        Every | None,
        BeforeValidator(amounts.every),
        Field(
            title="checkpoint interval",
            description="Time or steps between checkpoints; auto computes it.",
            examples=["10m", "500 steps", "auto"],
        ),
    ] = None
    keep: Annotated[
        int,
        _Count,
        Field(title="number of checkpoints", description="How many are kept.", examples=["3"]),
    ] = 3
    keep_every: Annotated[
        int | None,
        BeforeValidator(amounts.steps),
        Field(
            title="number of steps",
            description="Checkpoints of steps that it divides are kept for good.",
            examples=["10000"],
        ),
    ] = None
    best: Annotated[
        BestSpec | None,
        Field(
            title="group",
            description="Keep the best checkpoint, too.",
            examples=["{metric: loss, mode: min}"],
        ),
    ] = None
    memory_bytes: Annotated[
        int | None,
        BeforeValidator(amounts.checkpoint_memory),
        Field(
            title="memory size",
            description="Most of /dev/shm that a rank's checkpoint takes, for fast restarts.",
            examples=["8G", "off", "auto"],
        ),
    ] = None
    grace_s: Annotated[
        int | None,
        BeforeValidator(amounts.grace_s),
        Field(
            title="duration",
            description="Time a run gets to save before it is stopped; auto measures it.",
            examples=["5m", "auto"],
        ),
    ] = None


class RestartSpec(Part):
    """``on``: preempt, node, hang, oom, error, time."""

    max: Annotated[
        int,
        _FromZero,
        Field(title="number of restarts", description="Most restarts of a run.", examples=["10"]),
    ] = 10
    on: Annotated[
        tuple[
            Annotated[str, BeforeValidator(forms.words(forms.RESTART_WORDS, "a reason"))],
            ...,
        ],
        _List,
        Field(
            title="reason to restart",
            description="What a run is started again after.",
            examples=["[preempt, node, hang, oom, error, time]"],
        ),
    ] = ("preempt", "node", "hang", "error")
    never_on_exit: Annotated[
        tuple[Annotated[int, BeforeValidator(amounts.exit_code)], ...],
        _List,
        Field(
            title="exit code",
            description="Exit codes of the program after which it is not started again.",
            examples=["[2, 93]"],
        ),
    ] = ()


class AfterSpec(Part):
    """Run ids to wait for. ``singleton``: wait until no other run of this name and user is left."""

    ok: Annotated[
        _RunIds,
        _List,
        Field(title="run id", description="Runs that must end well.", examples=["[RUN]"]),
    ] = ()
    any: Annotated[
        _RunIds,
        _List,
        Field(title="run id", description="Runs that must end.", examples=["[RUN]"]),
    ] = ()
    notok: Annotated[
        _RunIds,
        _List,
        Field(title="run id", description="Runs that must fail.", examples=["[RUN]"]),
    ] = ()
    singleton: Annotated[
        bool,
        BeforeValidator(forms.flag),
        Field(
            title="truth value",
            description="Wait for all earlier runs of this name and user.",
            examples=["true"],
        ),
    ] = False


class ArraySpec(Part):
    """``throttle``: how many may run at once; None is no limit."""

    indices: tuple[int, ...]
    throttle: int | None = None


class SlurmSpec(Part):
    """Raw sbatch options by their long name without dashes; "" for an option without value."""

    sbatch: Annotated[
        dict[str, str],
        BeforeValidator(forms.sbatch_options),
        Field(
            title="mapping of sbatch options",
            description="Options passed to sbatch as they are, by their long names.",
            examples=["{mail-type: END}"],
        ),
    ] = Field(default_factory=dict)


class Until(Part):
    """When training is done: exactly one is set."""

    steps: Annotated[int | None, Field(ge=1)] = None
    tokens: Annotated[int | None, Field(ge=1)] = None
    samples: Annotated[int | None, Field(ge=1)] = None
    epochs: Annotated[float | None, Field(gt=0)] = None


class TrainSpec(Part):
    """What plan, resize and report need to know. ``layout`` None: chosen by plan."""

    model: Annotated[
        str | None,
        _Token,
        Field(
            title="model",
            description="A config.json, catalog:NAME or package.module:factory.",
            examples=["config.json", "catalog:llama3-8b", "package.module:factory"],
        ),
    ] = None
    optimizer: Annotated[
        str | None,
        _Token,
        Field(title="optimizer", description="Name of the optimizer.", examples=["adamw"]),
    ] = None
    precision: Annotated[
        str | None,
        _Token,
        Field(title="precision", description="Number format of training.", examples=["bf16"]),
    ] = None
    global_batch: Annotated[
        int | None,
        _Count,
        Field(
            title="batch size", description="Samples of a step over all ranks.", examples=["512"]
        ),
    ] = None
    sequence: Annotated[
        int | None,
        _Count,
        Field(title="sequence length", description="Tokens of a sample.", examples=["2048"]),
    ] = None
    until: Annotated[
        Until | None,
        BeforeValidator(amounts.until),
        Field(
            title="end of training",
            description="When training is done.",
            examples=["10000 steps", "3B tokens", "50k samples", "2 epochs"],
        ),
    ] = None
    layout: Annotated[
        dict[str, int | str] | None,
        BeforeValidator(amounts.layout),
        Field(
            title="layout",
            description="How the model is split; auto is chosen by plan.",
            examples=["auto", "{dp: 2, fsdp: 4, recompute: selective, micro_batch: 4}"],
        ),
    ] = None
