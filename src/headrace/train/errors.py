"""Errors of a training session. Each has its section in ``docs/errors.md``."""

from pathlib import Path

from headrace.core.errors import NotFound, Refused, UsageError


class UntrackedParameter(UsageError):
    """An optimizer holds a parameter that belongs to no tracked model."""

    code = "HR-TRAIN-001"

    def __init__(self, optimizer: str, *, shape: tuple[int, ...]) -> None:
        super().__init__(
            f"{optimizer} holds a parameter of shape {shape} that belongs to no tracked model",
            why="it would train a tensor that no forward pass reads, without any error",
            remedy="build the optimizer after run.parallelize(model), from that model's "
            "parameters, and pass both to run.track",
        )


class Contradiction(UsageError):
    """The code and the job file name different values for one thing."""

    code = "HR-TRAIN-002"

    def __init__(self, name: str, *, in_code: object, in_job: object) -> None:
        super().__init__(
            f"the code says {name}={in_code}, the job file says {in_job}",
            why="the plan of this run was made with the job file's value",
            remedy=f"remove {name} from the code, or from the job file's train: section",
        )


class MissingValue(UsageError):
    """Neither the code nor the job file gives a value that is needed."""

    code = "HR-TRAIN-003"

    def __init__(self, name: str, *, remedy: str) -> None:
        super().__init__(
            f"{name} is given neither in the code nor in the job file",
            why="a session does not guess what decides a training result",
            remedy=remedy,
        )


class OutOfOrder(UsageError):
    """Session methods called in an order that cannot work."""

    code = "HR-TRAIN-004"

    def __init__(self, problem: str, *, why: str, remedy: str) -> None:
        super().__init__(problem, why=why, remedy=remedy)


class CheckpointMismatch(Refused):
    """The checkpoint does not describe what the script tracks."""

    code = "HR-TRAIN-005"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(
            f"{path}: {detail}",
            why="the checkpoint was saved by a script that tracked something else",
            remedy="start the run in a new run directory, or restore the old model and names",
        )


class UnreadableUntil(UsageError):
    """The end of training is not written in a form we know."""

    code = "HR-TRAIN-006"

    def __init__(self, text: str) -> None:
        super().__init__(
            f'until: "{text}" is not an amount of training',
            why="it is a number, optionally with K, M, B or T, and one of the units "
            "steps, samples, tokens, epochs",
            remedy='until="300 steps"',
        )


class UnsupportedLayout(Refused):
    """A layout or precision that this version does not train."""

    code = "HR-TRAIN-007"

    def __init__(self, wish: str, *, nearest: str) -> None:
        super().__init__(
            f"{wish} is not supported",
            why="this version trains with data parallelism and FSDP, in fp32 or bf16",
            remedy=nearest,
        )


class BadEnvironment(UsageError):
    """The launcher's environment variables are incomplete or not numbers."""

    code = "HR-TRAIN-008"

    def __init__(self, name: str, value: str | None) -> None:
        shown = "is not set" if value is None else f'is "{value}", not a number in range'
        super().__init__(
            f"{name} {shown}",
            why="a rank needs RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT together",
            remedy="start the script with headrace run, torchrun, or plain python without RANK",
        )


class UnsavableState(UsageError):
    """A tracked object's state holds something that is neither plain data nor a tensor."""

    code = "HR-TRAIN-009"

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(
            f"the state of {name} holds a {kind}",
            why="checkpoints hold tensors, numbers, strings, lists and dicts; nothing is pickled",
            remedy=f"give {name} a state_dict of plain values",
        )


class CheckpointUnseen(NotFound):
    """Rank 0 found a checkpoint which another rank cannot read."""

    code = "HR-TRAIN-010"

    def __init__(self, *, rank: int, step: int, root: Path) -> None:
        super().__init__(
            f"rank {rank} does not find the checkpoint of step {step} in {root}",
            why="rank 0 chose it; all ranks must start from the same one",
            remedy="put the run directory on a file system that all nodes share",
        )


class RunDirUnusable(Refused):
    """The run directory cannot be written to."""

    code = "HR-TRAIN-011"

    def __init__(self, root: Path, error: OSError) -> None:
        super().__init__(
            f"{root} cannot be used for checkpoints: {error.strerror or error}",
            why="a run that cannot be saved would be lost at the first interruption",
            remedy="set HEADRACE_RUN_DIR to a folder that this process may write to",
        )


class BatchNotArrays(UsageError):
    """What ``collate`` returned cannot be moved to a device."""

    code = "HR-TRAIN-012"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"a batch holds a {kind}, which is no array",
            why="a batch is an array or tensor, or a dict or tuple of them, with the samples in "
            "dimension 0",
            remedy="return such from the collate of data.Reading",
        )
