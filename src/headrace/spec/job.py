"""What is asked: a ``JobSpec``, the one type that leaves this room.

Frozen, checked, with units in the names of its resolved values. It says what the user wants and
knows no machine: what is left open (None) is decided by ``plan``, an engine or ``launch``. Accepted
forms are read by ``headrace.spec.forms`` and ``amounts``; files, flags and ``#SBATCH`` lines by
``headrace.spec.load``. ``JobSpec(...)`` takes the same forms and raises the same ``SpecError``;
where a name ends in its unit, a number is in that unit and text is read as in a job file.
"""

from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from headrace.core.order import DataPlace, SessionSettings
from headrace.spec import amounts, forms
from headrace.spec.naming import name_of
from headrace.spec.origin import Origin, conflict_error, first_error
from headrace.spec.parts import (
    AfterSpec,
    ArraySpec,
    CheckpointSpec,
    DataSource,
    Every,
    GpuRequest,
    NodeRange,
    Part,
    RestartSpec,
    SlurmSpec,
    TrainSpec,
    Until,
)

__all__ = [
    "FRAMEWORKS",
    "AfterSpec",
    "ArraySpec",
    "CheckpointSpec",
    "DataSource",
    "Every",
    "Framework",
    "GpuRequest",
    "JobSpec",
    "NodeRange",
    "RestartSpec",
    "SlurmSpec",
    "TrainSpec",
    "Until",
]

Framework = Literal["torch", "jax", "tensorflow", "mpi", "none"]
FRAMEWORKS = ("torch", "jax", "tensorflow", "mpi", "none")
PROGRAMS = ("run", "python", "command", "script")

_AutoCount = BeforeValidator(amounts.auto_count)
_Argument = BeforeValidator(forms.argument)
_Line = BeforeValidator(forms.line)
_List = BeforeValidator(forms.one_or_many)
_Path = BeforeValidator(forms.folder)
_Token = BeforeValidator(forms.token)
_Variable = Annotated[str, BeforeValidator(forms.variable)]


class JobSpec(Part):
    """One run, or a family of runs when ``sweep`` or ``array`` is set. Raise ``SpecError``."""

    name: Annotated[
        str,
        BeforeValidator(forms.name),
        Field(
            title="name",
            description="Name of the run.",
            examples=["gpt-small"],
        ),
    ] = "run"
    run: Annotated[
        str | None,
        BeforeValidator(forms.shell),
        Field(
            title="command",
            description="Shell text that each rank runs with bash.",
            examples=["python train.py --lr 3e-4"],
        ),
    ] = None
    python: Annotated[
        str | None,
        BeforeValidator(forms.target),
        Field(
            title="function",
            description="A function that each rank calls.",
            examples=["package.module:function"],
        ),
    ] = None
    command: Annotated[
        tuple[Annotated[str, _Argument], ...] | None,
        BeforeValidator(forms.arguments),
        Field(
            title="list of words",
            description="Program and arguments that each rank executes, without a shell.",
            examples=["[python, train.py]"],
        ),
    ] = None
    script: Annotated[
        Path | None,
        _Path,
        Field(
            title="path",
            description="A batch script, run once on the first node, as by sbatch.",
            examples=["job.sbatch"],
        ),
    ] = None
    interpreter: Annotated[
        tuple[Annotated[str, _Argument], ...],
        BeforeValidator(forms.arguments),
        Field(
            title="list of words",
            description="What runs the script.",
            examples=["[/bin/bash, -l]"],
        ),
    ] = ("/bin/bash",)
    framework: Annotated[
        Framework,
        BeforeValidator(forms.words(FRAMEWORKS, "framework")),
        Field(
            title="framework",
            description="Whose way of starting ranks is used.",
            examples=["torch", "jax", "tensorflow", "mpi", "none"],
        ),
    ] = "torch"
    nodes: Annotated[
        NodeRange,
        BeforeValidator(amounts.nodes),
        Field(
            title="node count",
            description="Nodes; a range is an elastic run.",
            examples=["2", "2-8", "2:8"],
        ),
    ] = NodeRange(min=1, max=1)
    gpus_per_node: Annotated[
        GpuRequest | None,
        BeforeValidator(amounts.gpus),
        Field(
            title="number of GPUs",
            description="GPUs of each node, with a type if it matters; 0 is a run without GPUs.",
            examples=["8", "H100:8", "3090:8", "0"],
        ),
    ] = None
    ranks_per_node: Annotated[
        int | None,
        _AutoCount,
        Field(
            title="number of ranks",
            description="Processes on each node; auto is one a GPU, or one.",
            examples=["8", "auto"],
        ),
    ] = None
    cpus_per_rank: Annotated[
        int | None,
        _AutoCount,
        Field(
            title="number of CPUs",
            description="CPUs of each rank; auto shares the node.",
            examples=["12", "auto"],
        ),
    ] = None
    memory_bytes: Annotated[
        int | None,
        BeforeValidator(amounts.memory_bytes),
        Field(
            title="memory size",
            description="Memory of each node, in powers of 1024; a bare number is MiB.",
            examples=["400G", "1.5T", "200000"],
        ),
    ] = None
    time_s: Annotated[
        int | None,
        BeforeValidator(amounts.time_s),
        Field(
            title="time limit",
            description="Time limit; a bare number is minutes, as in Slurm.",
            examples=[
                "4h",
                "90m",
                "1h30m",
                "45s",
                "240",
                "90:00",
                "1:30:00",
                "1-12",
                "1-12:30",
                "1-12:30:00",
                "unlimited",
            ],
        ),
    ] = None
    account: Annotated[
        str | None,
        _Token,
        Field(
            title="account",
            description="Account that pays.",
            examples=["lab1"],
        ),
    ] = None
    partition: Annotated[
        str | None,
        _Token,
        Field(
            title="partition",
            description="Partition, or several with commas.",
            examples=["gpu"],
        ),
    ] = None
    qos: Annotated[
        str | None,
        _Token,
        Field(
            title="QOS",
            description="Quality of service.",
            examples=["normal"],
        ),
    ] = None
    reservation: Annotated[
        str | None,
        _Token,
        Field(
            title="reservation",
            description="Reservation to run in.",
            examples=["course-42"],
        ),
    ] = None
    constraint: Annotated[
        str | None,
        _Line,
        Field(
            title="constraint",
            description="Features that nodes must have.",
            examples=["a100&nvlink"],
        ),
    ] = None
    priority: Annotated[
        int,
        BeforeValidator(partial(amounts.count, least=-(10**9), what="priority")),
        Field(
            title="priority",
            description="Higher starts earlier among the runs of a user.",
            examples=["10"],
        ),
    ] = 0
    workdir: Annotated[
        Path,
        _Path,
        Field(
            title="folder",
            description="Folder the program runs in.",
            examples=["."],
        ),
    ] = Path(".")
    snapshot: Annotated[
        bool,
        BeforeValidator(forms.flag),
        Field(
            title="truth value",
            description="Run a copy of the code as it was when submitted.",
            examples=["true"],
        ),
    ] = False
    stage_python: Annotated[
        str | None,
        BeforeValidator(forms.words(forms.STAGE_WORDS, "a tier")),
        Field(
            title="tier",
            description="Where each node of a cluster gets a copy of your venv or conda "
            "environment, for its ranks to import from.",
            examples=["nvme", "memory"],
        ),
    ] = None
    modules: Annotated[
        tuple[Annotated[str, _Token], ...],
        _List,
        Field(
            title="list of modules",
            description="Environment modules loaded for each rank.",
            examples=["[cuda/12.4, openmpi]"],
        ),
    ] = ()
    setup: Annotated[
        str | None,
        BeforeValidator(forms.shell),
        Field(
            title="command",
            description="Shell text run once on each node before the ranks start.",
            examples=["mkdir -p /tmp/cache"],
        ),
    ] = None
    env: Annotated[
        dict[_Variable, Annotated[str, BeforeValidator(forms.setting)]],
        Field(
            title="mapping of variables",
            description="Environment variables of the ranks; values are kept as written.",
            examples=["{OMP_NUM_THREADS: 8}"],
        ),
    ] = Field(default_factory=dict)
    secrets: Annotated[
        tuple[_Variable, ...],
        BeforeValidator(forms.secrets),
        Field(
            title="list of names",
            description="Names of secret variables; values come from your environment.",
            examples=["[WANDB_API_KEY]"],
        ),
    ] = ()
    image: Annotated[
        str | None,
        BeforeValidator(forms.image),
        Field(
            title="container image",
            description="Container image file or reference; none runs without.",
            examples=[
                "model.sif",
                "docker://python:3.12",
                "nvcr.io/nvidia/pytorch:25.01-py3",
                "none",
            ],
        ),
    ] = None
    data: Annotated[
        tuple[DataSource, ...],
        BeforeValidator(forms.sources),
        Field(
            title="list of data sources",
            description="Training data, and where it is staged.",
            examples=["[{source: /lustre/corpus, stage: nvme}]", "/lustre/corpus"],
        ),
    ] = ()
    checkpoint: Annotated[
        CheckpointSpec,
        Field(
            title="mapping",
            description="When checkpoints are taken, and how many are kept.",
            examples=["{every: 10m, keep: 3, grace: auto}"],
        ),
    ] = CheckpointSpec()
    restart: Annotated[
        RestartSpec,
        Field(
            title="mapping",
            description="When a failed run is started again.",
            examples=["{max: 10, on: [preempt, node, hang, error]}"],
        ),
    ] = RestartSpec()
    after: Annotated[
        AfterSpec,
        Field(
            title="mapping",
            description="Runs to wait for.",
            examples=["{ok: [RUN]}"],
        ),
    ] = AfterSpec()
    sweep: Annotated[
        dict[_Variable, tuple[Annotated[str, _Argument], ...]],
        BeforeValidator(forms.sweep),
        Field(
            title="mapping of lists",
            description="One run for each combination of values; excludes array.",
            examples=["{lr: [1e-3, 3e-4]}"],
        ),
    ] = Field(default_factory=dict)
    array: Annotated[
        ArraySpec | None,
        BeforeValidator(amounts.array),
        Field(
            title="job array",
            description="One run for each index; %N lets N run at once; excludes sweep.",
            examples=["0-99%8", "1,3,7-9", "0-10:2"],
        ),
    ] = None
    slurm: Annotated[
        SlurmSpec,
        Field(
            title="mapping",
            description="Options for Slurm only.",
            examples=["{sbatch: {mail-type: END}}"],
        ),
    ] = SlurmSpec()
    train: Annotated[
        TrainSpec | None,
        Field(
            title="mapping",
            description="What plan, resize and report need to know; else it is not planned.",
            examples=["{model: config.json, global_batch: 512}"],
        ),
    ] = None
    notes: Annotated[
        tuple[Annotated[str, _Argument], ...],
        BeforeValidator(forms.lines),
        Field(
            title="list of remarks",
            description="Remarks for people, by you or by the reader of a batch script.",
            examples=["[second try with more warm-up]"],
        ),
    ] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _speak_plainly(
        cls,
        given: Any,  # noqa: ANN401
        handler: ModelWrapValidatorHandler[Self],
        info: ValidationInfo,
    ) -> Self:
        """Give the run a name if it has none, and turn pydantic's errors into ``SpecError``."""
        written = given if isinstance(given, Mapping) else {}
        origin = info.context if isinstance(info.context, Origin) else Origin(written, {})
        if isinstance(given, Mapping) and given.get("name") is None:
            given = {**given, "name": name_of(given)}
        try:
            spec = handler(given)
            spec._has_one_program()
            spec._is_one_family()
            spec._waits_for_others()
        except ValidationError as error:
            raise first_error(error, origin, cls) from None
        except forms.Conflict as conflict:
            raise conflict_error(conflict, origin) from None
        return spec

    def _has_one_program(self) -> None:
        given = [name for name in PROGRAMS if getattr(self, name) is not None]
        if len(given) == 1:
            return
        rule = "a run has exactly one of run, python, command, script"
        if not given:
            raise forms.Conflict("there is no command", rule=rule, fix="run: python train.py")
        raise forms.Conflict(
            f"{' and '.join(given)} both say what to run",
            rule=rule,
            fix=f"keep {given[0]} or {given[1]}",
            at=(given[1],),
        )

    def _is_one_family(self) -> None:
        if self.sweep and self.array:
            raise forms.Conflict(
                "sweep and array exclude each other",
                rule="both make many runs of one job",
                fix="keep sweep for named values, or array for bare indices",
                at=("array",),
            )
        elements = prod(len(values) for values in self.sweep.values())
        if elements > amounts.ARRAY_MAX:
            raise forms.Conflict(
                f"{elements} combinations",
                rule=f"a sweep has at most {amounts.ARRAY_MAX}",
                fix="leave values out, or submit it in parts",
                at=("sweep",),
            )

    def _waits_for_others(self) -> None:
        seen: dict[str, str] = {}
        for kind in ("ok", "any", "notok"):
            for index, run_id in enumerate(getattr(self.after, kind)):
                at = ("after", kind, index)
                if run_id == self.name:
                    raise forms.Conflict(
                        f'"{run_id}" is this run itself',
                        rule="a run waits for ids of runs submitted before it, not for names",
                        fix=f"leave {run_id} out, or write the id that its submission printed",
                        at=at,
                    )
                if run_id in seen:
                    raise forms.Conflict(
                        f'"{run_id}" stands under {seen[run_id]} already',
                        rule="a run is waited for in one way",
                        fix=f"leave {run_id} out of {kind}",
                        at=at,
                    )
                seen[run_id] = kind

    @property
    def argv(self) -> tuple[str, ...]:
        """What a rank executes; for ``script_semantics``, what the first node executes once."""
        if self.command is not None:
            return self.command
        if self.python is not None:
            return ("python", "-m", "headrace.launch.call", self.python)
        if self.script is not None:
            return (*self.interpreter, str(self.script))
        return ("/bin/bash", "-c", self.run or "")

    @property
    def script_semantics(self) -> bool:
        """A batch script runs once, on the first node, as under Slurm."""
        return self.script is not None

    @property
    def restart_given(self) -> bool:
        """Whether the description itself says when to restart."""
        return "restart" in self.model_fields_set

    def data_places(self) -> tuple[DataPlace, ...]:
        """What the run's nodes are told of its data: whole paths."""
        return tuple(
            DataPlace(
                source=one.source if "://" in one.source else str(self.workdir / one.source),
                tier=one.stage,
            )
            for one in self.data
        )

    def session(self) -> SessionSettings:
        """What the ranks' training session is told."""
        train = self.train or TrainSpec()
        until = train.until or Until()
        every, best = self.checkpoint.every or Every(), self.checkpoint.best
        return SessionSettings(
            checkpoint_every_s=every.duration_s,
            checkpoint_every_steps=every.steps,
            checkpoint_keep=self.checkpoint.keep
            if "keep" in self.checkpoint.model_fields_set
            else None,
            checkpoint_keep_every=self.checkpoint.keep_every,
            checkpoint_best=None if best is None else (best.metric, best.mode),
            checkpoint_memory=self.checkpoint.memory_bytes,
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
