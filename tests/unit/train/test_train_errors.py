from pathlib import Path

import pytest

from headrace.core.errors import HeadraceError
from headrace.train import errors

TEXTS: list[tuple[HeadraceError, int, str]] = [
    (
        errors.UntrackedParameter("optimizer", shape=(4, 2)),
        2,
        "error HR-TRAIN-001: optimizer holds a parameter of shape (4, 2) that belongs to no tracked"
        " model\n"
        "  why: it would train a tensor that no forward pass reads, without any error\n"
        "  fix: build the optimizer after run.parallelize(model), from that model's parameters, and"
        " pass both to run.track",
    ),
    (
        errors.Contradiction("global_batch", in_code=512, in_job=256),
        2,
        "error HR-TRAIN-002: the code says global_batch=512, the job file says 256\n"
        "  why: the plan of this run was made with the job file's value\n"
        "  fix: remove global_batch from the code, or from the job file's train: section",
    ),
    (
        errors.MissingValue("until", remedy="say it"),
        2,
        "error HR-TRAIN-003: until is given neither in the code nor in the job file\n"
        "  why: a session does not guess what decides a training result\n"
        "  fix: say it",
    ),
    (
        errors.OutOfOrder("a came before b", why="c", remedy="d"),
        2,
        "error HR-TRAIN-004: a came before b\n  why: c\n  fix: d",
    ),
    (
        errors.CheckpointMismatch("run/step-1", "model/w has shape (1,), the model's is (2,)"),
        4,
        "error HR-TRAIN-005: run/step-1: model/w has shape (1,), the model's is (2,)\n"
        "  why: the checkpoint was saved by a script that tracked something else\n"
        "  fix: start the run in a new run directory, or restore the old model and names",
    ),
    (
        errors.UnreadableUntil("300 stpes"),
        2,
        'error HR-TRAIN-006: until: "300 stpes" is not an amount of training\n'
        "  why: it is a number, optionally with K, M, B or T, and one of the units steps, samples,"
        " tokens, epochs\n"
        '  fix: until="300 steps"',
    ),
    (
        errors.UnsupportedLayout("precision: fp8", nearest="precision: bf16"),
        4,
        "error HR-TRAIN-007: precision: fp8 is not supported\n"
        "  why: this version trains with data parallelism and FSDP, in fp32 or bf16\n"
        "  fix: precision: bf16",
    ),
    (
        errors.BadEnvironment("RANK", "x"),
        2,
        'error HR-TRAIN-008: RANK is "x", not a number in range\n'
        "  why: a rank needs RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT together\n"
        "  fix: start the script with headrace run, torchrun, or plain python without RANK",
    ),
    (
        errors.UnsavableState("sampler/order", "set"),
        2,
        "error HR-TRAIN-009: the state of sampler/order holds a set\n"
        "  why: checkpoints hold tensors, numbers, strings, lists and dicts; nothing is pickled\n"
        "  fix: give sampler/order a state_dict of plain values",
    ),
    (
        errors.CheckpointUnseen(rank=8, step=300, root=Path("/tmp/a")),
        3,
        "error HR-TRAIN-010: rank 8 does not find the checkpoint of step 300 in /tmp/a\n"
        "  why: rank 0 chose it; all ranks must start from the same one\n"
        "  fix: put the run directory on a file system that all nodes share",
    ),
    (
        errors.RunDirUnusable(Path("/a"), OSError(30, "Read-only file system")),
        4,
        "error HR-TRAIN-011: /a cannot be used for checkpoints: Read-only file system\n"
        "  why: a run that cannot be saved would be lost at the first interruption\n"
        "  fix: set HEADRACE_RUN_DIR to a folder that this process may write to",
    ),
]


@pytest.mark.parametrize(
    ("error", "exit_status", "text"), TEXTS, ids=lambda v: getattr(v, "code", "")
)
def test_an_error_says_what_why_and_what_to_type(
    error: HeadraceError, exit_status: int, text: str
) -> None:
    assert str(error) == text
    assert error.exit_status == exit_status


def test_a_variable_that_is_not_set_is_named_as_such() -> None:
    assert errors.BadEnvironment("MASTER_PORT", None).problem == "MASTER_PORT is not set"
