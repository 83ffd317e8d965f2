"""Every wrong job file gets one error of three lines, whose full text is here."""

from pathlib import Path

import pytest

from headrace.core.errors import HeadraceError
from headrace.spec.errors import SpecError
from headrace.spec.load import load_text

CASES = {
    "an unknown key": (
        "run: a\nnods: 2\n",
        "error HR-SPEC-004: job.yaml:2: nods: there is no such field\n"
        "  why: fields that are not known are refused, so that no typo goes unseen\n"
        "  fix: did you mean nodes: 2",
    ),
    "nodes that are a word": (
        "run: a\nnodes: two\n",
        'error HR-SPEC-003: job.yaml:2: nodes: "two" is not a node count\n'
        "  why: nodes is a whole number, or two with a dash for an elastic run\n"
        "  fix: nodes: 2",
    ),
    "env that is a list": (
        "run: a\nenv:\n  - A=1\n",
        "error HR-SPEC-003: job.yaml:2: env: a list is not a mapping of variables\n"
        "  why: env is a mapping of names to values\n"
        "  fix: env: {OMP_NUM_THREADS: 8}",
    ),
    "a bad time": (
        "run: a\ntime: 4 fortnights\n",
        'error HR-SPEC-003: job.yaml:2: time: "4 fortnights" is not a time limit\n'
        "  why: a duration is written 4h, 90m, 1h30m, 45s, HH:MM:SS or D-HH:MM:SS\n"
        "  fix: time: 4h",
    ),
    "a time of 0": (
        "run: a\ntime: 0\n",
        'error HR-SPEC-003: job.yaml:2: time: "0" is not a time limit\n'
        "  why: a time limit is longer than 0\n"
        "  fix: time: 4h",
    ),
    "a tab": (
        "run: a\nenv:\n\tA: 1\n",
        "error HR-SPEC-002: job.yaml:3: a tab indents this line\n"
        "  why: YAML is indented with spaces\n"
        "  fix: write spaces instead of the tab",
    ),
    "an unclosed quote": (
        "name: 'x\nrun: a\n",
        "error HR-SPEC-002: job.yaml:1: a quote is not closed\n"
        "  why: text that starts with a quote ends with one\n"
        "  fix: close the quote that opens on this line",
    ),
    "an unclosed bracket": (
        "run: a\nsecrets: [A, B\nnodes: 2\n",
        "error HR-SPEC-002: job.yaml:2: a bracket is not closed\n"
        "  why: [ ends with ] and { with }\n"
        "  fix: close the bracket that opens on this line",
    ),
    "a key that stands twice": (
        "run: a\nnodes: 2\nnodes: 3\n",
        "error HR-SPEC-002: job.yaml:3: nodes stands twice, first on line 2\n"
        "  why: a job file has one value for each name\n"
        "  fix: keep line 2 or line 3",
    ),
    "two spellings of one key": (
        "run: a\ngpus-per-node: 2\ngpus_per_node: 3\n",
        "error HR-SPEC-005: job.yaml:3: gpus_per_node: stands twice\n"
        "  why: a field is set once\n"
        "  fix: keep one gpus_per_node",
    ),
    "nodes the wrong way round": (
        "run: a\nnodes: 8-2\n",
        'error HR-SPEC-003: job.yaml:2: nodes: "8-2" is not a node count\n'
        "  why: the smaller number comes first\n"
        "  fix: nodes: 2-8",
    ),
    "nodes of 0": (
        "run: a\nnodes: 0\n",
        'error HR-SPEC-003: job.yaml:2: nodes: "0" is not a node count\n'
        "  why: a number of nodes is 1 or more\n"
        "  fix: nodes: 1",
    ),
    "negative nodes": (
        "run: a\nnodes: -4\n",
        'error HR-SPEC-003: job.yaml:2: nodes: "-4" is not a node count\n'
        "  why: a number of nodes is 1 or more\n"
        "  fix: nodes: 4",
    ),
    "an empty command": (
        "run: ''\n",
        'error HR-SPEC-003: job.yaml:1: run: "" is not a command\n'
        "  why: a command is not empty\n"
        "  fix: run: python train.py",
    ),
    "an empty list of words": (
        "command: []\n",
        "error HR-SPEC-003: job.yaml:1: command: an empty list is not a list of words\n"
        "  why: a command is not empty\n"
        "  fix: command: [python, train.py]",
    ),
    "no command": (
        "name: x\n",
        "error HR-SPEC-005: job.yaml: there is no command\n"
        "  why: a run has exactly one of run, python, command, script\n"
        "  fix: run: python train.py",
    ),
    "two commands": (
        "run: a\npython: b:c\n",
        "error HR-SPEC-005: job.yaml:2: python: run and python both say what to run\n"
        "  why: a run has exactly one of run, python, command, script\n"
        "  fix: keep run or python",
    ),
    "a top-level list": (
        "- run: a\n",
        "error HR-SPEC-002: job.yaml:1: the top is a list\n"
        "  why: a job file is a mapping of fields to values\n"
        "  fix: run: python train.py",
    ),
    "a tag": (
        "run: !!python/object/apply:os.system [ls]\n",
        "error HR-SPEC-002: job.yaml:1: the tag !!python/object/apply:os.system is not read\n"
        "  why: a job file is made of plain text, lists and mappings\n"
        "  fix: leave the tag out",
    ),
    "a run that waits for itself": (
        "name: x\nrun: a\nafter: {ok: [x]}\n",
        'error HR-SPEC-005: job.yaml:3: after.ok[0]: "x" is this run itself\n'
        "  why: a run waits for ids of runs submitted before it, not for names\n"
        "  fix: leave x out, or write the id that its submission printed",
    ),
    "a run that is waited for twice": (
        "run: a\nafter:\n  ok: [r1]\n  notok: [r1]\n",
        'error HR-SPEC-005: job.yaml:4: after.notok[0]: "r1" stands under ok already\n'
        "  why: a run is waited for in one way\n"
        "  fix: leave r1 out of notok",
    ),
    "sweep and array": (
        "run: a\nsweep: {lr: [1]}\narray: 0-3\n",
        "error HR-SPEC-005: job.yaml:3: array: sweep and array exclude each other\n"
        "  why: both make many runs of one job\n"
        "  fix: keep sweep for named values, or array for bare indices",
    ),
    "an empty sweep": (
        "run: a\nsweep:\n  lr: []\n",
        "error HR-SPEC-003: job.yaml:3: sweep.lr: an empty list is not a value under sweep\n"
        "  why: a sweep has one value or more of each name\n"
        "  fix: lr: [1, 2] (under sweep)",
    ),
    "an array that is too large": (
        "run: a\narray: 0-20000\n",
        'error HR-SPEC-003: job.yaml:2: array: "0-20000" is not a job array\n'
        "  why: an array has at most 10000 elements\n"
        "  fix: array: 0-9999",
    ),
    "a backward array": (
        "run: a\narray: 5-2\n",
        'error HR-SPEC-003: job.yaml:2: array: "5-2" is not a job array\n'
        "  why: the smaller index comes first\n"
        "  fix: array: 2-5",
    ),
    "secrets with values": (
        "run: a\nsecrets:\n  WANDB_API_KEY: hunter2\n",
        "error HR-SPEC-003: job.yaml:2: secrets: a mapping with values is not a list of names\n"
        "  why: a job file holds names of secrets, never values: those come from your environment\n"
        "  fix: secrets: [WANDB_API_KEY]",
    ),
    "a secret with a value": (
        "run: a\nsecrets: [WANDB_API_KEY=hunter2]\n",
        'error HR-SPEC-003: job.yaml:2: secrets[0]: "WANDB_API_KEY=..." is not a name\n'
        "  why: a job file holds names of secrets, never values: those come from your environment\n"
        "  fix: WANDB_API_KEY (item 1 of secrets)",
    ),
    "an image of no known kind": (
        "run: a\nimage: dokcer://x\n",
        'error HR-SPEC-003: job.yaml:2: image: "dokcer://x" is not a container image\n'
        "  why: the scheme of an image is one of docker, oras, library, shub, podman, https\n"
        "  fix: image: docker://x",
    ),
    "an image with a space": (
        "run: a\nimage: my model.sif\n",
        'error HR-SPEC-003: job.yaml:2: image: "my model.sif" is not a container image\n'
        "  why: an image is a file such as model.sif, or a reference such as docker://python:3.12\n"
        "  fix: image: mymodel.sif",
    ),
    "bad memory": (
        "run: a\nmemory: 400 gigs\n",
        'error HR-SPEC-003: job.yaml:2: memory: "400 gigs" is not a memory size\n'
        "  why: memory is a number with K, M, G or T (powers of 1024); a bare one is MiB\n"
        "  fix: memory: 400G",
    ),
    "an unknown reason to restart": (
        "run: a\nrestart:\n  on: [preempt, nodes]\n",
        'error HR-SPEC-003: job.yaml:3: restart.on[1]: "nodes" is not a reason to restart\n'
        "  why: a reason is one of preempt, node, hang, oom, error, time\n"
        "  fix: node (item 2 of restart.on)",
    ),
    "an unknown framework": (
        "run: a\nframework: pytorch\n",
        'error HR-SPEC-003: job.yaml:2: framework: "pytorch" is not a framework\n'
        "  why: framework is one of torch, jax, tensorflow, mpi, none\n"
        "  fix: framework: torch",
    ),
    "no GPUs of a type": (
        "run: a\ngpus_per_node: H100:0\n",
        'error HR-SPEC-003: job.yaml:2: gpus_per_node: "H100:0" is not a number of GPUs\n'
        "  why: a type of GPU needs 1 or more of them\n"
        "  fix: gpus_per_node: H100:1",
    ),
    "GPUs with digits first the wrong way round": (
        "run: a\ngpus_per_node: 8:3090\n",
        'error HR-SPEC-003: job.yaml:2: gpus_per_node: "8:3090" is not a number of GPUs\n'
        "  why: the type comes first\n"
        "  fix: gpus_per_node: 3090:8",
    ),
    "two numbers of GPUs": (
        "run: a\ngpus_per_node: 2:8\n",
        'error HR-SPEC-003: job.yaml:2: gpus_per_node: "2:8" is not a number of GPUs\n'
        "  why: GPUs are a number per node, or TYPE:NUMBER such as H100:8\n"
        "  fix: gpus_per_node: 8",
    ),
    "GPUs the wrong way round": (
        "run: a\ngpus_per_node: 8:H100\n",
        'error HR-SPEC-003: job.yaml:2: gpus_per_node: "8:H100" is not a number of GPUs\n'
        "  why: the type comes first\n"
        "  fix: gpus_per_node: H100:8",
    ),
    "a bad until": (
        "run: a\ntrain: {until: 10000}\n",
        'error HR-SPEC-003: job.yaml:2: train.until: "10000" is not an end of training\n'
        "  why: until is a number and one of steps, tokens, samples, epochs\n"
        "  fix: until: 10000 steps (under train)",
    ),
    "an unknown unit of until": (
        "run: a\ntrain: {until: 10 parsecs}\n",
        'error HR-SPEC-003: job.yaml:2: train.until: "10 parsecs" is not an end of training\n'
        "  why: until is a number and one of steps, tokens, samples, epochs\n"
        "  fix: until: 10000 steps (under train)",
    ),
    "an unknown key of the layout": (
        "run: a\ntrain:\n  layout: {dpp: 2}\n",
        'error HR-SPEC-003: job.yaml:3: train.layout.dpp: "dpp" is not a name under train.layout\n'
        "  why: a layout has dp, fsdp, tp, pp, cp, recompute, micro_batch\n"
        "  fix: dp: 2 (under train.layout)",
    ),
    "a layout of 0": (
        "run: a\ntrain:\n  layout: {tp: 0}\n",
        'error HR-SPEC-003: job.yaml:3: train.layout.tp: "0" is not a value under train.layout\n'
        "  why: tp is 1 or more\n"
        "  fix: tp: 1 (under train.layout)",
    ),
    "a variable with =": (
        "run: a\nenv:\n  A=b: 1\n",
        'error HR-SPEC-003: job.yaml:3: env.A=b: "A=b" is not a name under env\n'
        "  why: the name of a variable has letters, digits and underscores, and no digit first\n"
        "  fix: A: 1 (under env)",
    ),
    "a variable that is a list": (
        "run: a\nenv:\n  A: [1]\n",
        "error HR-SPEC-003: job.yaml:3: env.A: a list is not a value under env\n"
        "  why: the value of a variable is text, not a list\n"
        '  fix: A: "" (under env)',
    ),
    "a variable without value": (
        "run: a\nenv:\n  A:\n",
        "error HR-SPEC-003: job.yaml:3: env.A: nothing is not a value under env\n"
        "  why: the value of a variable is text, not nothing\n"
        '  fix: A: "" (under env)',
    ),
    "control characters in the name": (
        'run: a\nname: "a\\u0007b"\n',
        'error HR-SPEC-003: job.yaml:2: name: "a\\x07b" is not a name\n'
        "  why: a name has no control characters\n"
        "  fix: name: ab",
    ),
    "a name with capitals": (
        "run: a\nname: GPT Small\n",
        'error HR-SPEC-003: job.yaml:2: name: "GPT Small" is not a name\n'
        "  why: a name has a-z, 0-9, dot, dash and underscore only, and at most 40 of them\n"
        "  fix: name: gpt-small",
    ),
    "a function without module": (
        "python: train.py\n",
        'error HR-SPEC-003: job.yaml:1: python: "train.py" is not a function\n'
        "  why: a function is written package.module:function\n"
        "  fix: python: train:main",
    ),
    "an interval without unit": (
        "run: a\ncheckpoint:\n  every: 10\n",
        'error HR-SPEC-003: job.yaml:3: checkpoint.every: "10" is not a checkpoint interval\n'
        "  why: an interval needs a unit\n"
        "  fix: every: 10s (under checkpoint)",
    ),
    "an unknown key inside": (
        "run: a\ncheckpoint:\n  evry: 10m\n",
        "error HR-SPEC-004: job.yaml:3: checkpoint.evry: there is no such field\n"
        "  why: fields that are not known are refused, so that no typo goes unseen\n"
        "  fix: did you mean every: 10m (under checkpoint)",
    ),
    "a data source without source": (
        "run: a\ndata: [{stage: nvme}]\n",
        "error HR-SPEC-003: job.yaml:2: data[0].source: is missing\n"
        "  why: data[0].source is needed here\n"
        "  fix: source: /lustre/corpus (under data[0])",
    ),
    "a tier that is none": (
        "run: a\ndata: [{source: /d, stage: nvm}]\n",
        'error HR-SPEC-003: job.yaml:2: data[0].stage: "nvm" is not a tier\n'
        "  why: a tier is one of nvme, memory\n"
        "  fix: stage: nvme (under data[0])",
    ),
    "a staged source that is no path": (
        "run: a\ndata: [{source: s3://bucket/d, stage: nvme}]\n",
        "error HR-SPEC-005: job.yaml:2: data[0].source: is no path\n"
        "  why: what is staged is a file or folder that nodes can read\n"
        "  fix: remove stage, or give source a path",
    ),
    "a Slurm option that has a field": (
        "run: a\nslurm: {sbatch: {time: 60}}\n",
        "error HR-SPEC-005: job.yaml:2: slurm.sbatch.time: time has a field of its own\n"
        "  why: one setting stands in one place, so that plan, engine and Slurm agree\n"
        "  fix: time: 60",
    ),
    "a second document": (
        "run: a\n---\nrun: b\n",
        "error HR-SPEC-002: job.yaml:2: a second document starts\n"
        "  why: a job file describes one run\n"
        "  fix: put what follows --- into a file of its own",
    ),
    "a second colon": (
        "name: x\nrun: echo it's a: b\n",
        "error HR-SPEC-002: job.yaml:2: a second colon follows\n"
        "  why: text with a colon and a space in it is quoted\n"
        "  fix: run: 'echo it''s a: b'",
    ),
    "a line that is indented too far": (
        "run: a\n  nodes: 2\n",
        "error HR-SPEC-002: job.yaml:2: this line is indented too far\n"
        "  why: fields of one mapping start in one column\n"
        "  fix: indent it as the line before it, or end that line with a colon: nodes: 2",
    ),
    "an alias to nothing": (
        "run: *cmd\n",
        "error HR-SPEC-002: job.yaml:1: *cmd has no &cmd before it\n"
        "  why: a job file is read from the top\n"
        "  fix: put &cmd before *cmd",
    ),
    "a control character": (
        "run: a\x01\n",
        "error HR-SPEC-002: job.yaml:1: the character U+0001 cannot stand in YAML\n"
        "  why: a job file is text without control characters\n"
        '  fix: remove it, or write it as an escape in double quotes, such as "\\x1b"',
    ),
    "train that is text": (
        "run: a\ntrain: fast\n",
        'error HR-SPEC-003: job.yaml:2: train: "fast" is not a mapping\n'
        "  why: train is a mapping of names to values\n"
        "  fix: train: {model: config.json, global_batch: 512}",
    ),
    "an exit code over 255": (
        "run: a\nrestart: {never_on_exit: [300]}\n",
        'error HR-SPEC-003: job.yaml:2: restart.never_on_exit[0]: "300" is not an exit code\n'
        "  why: an exit code is 255 or less\n"
        "  fix: 255 (item 1 of restart.never_on_exit)",
    ),
    "a priority that is a word": (
        "run: a\npriority: high\n",
        'error HR-SPEC-003: job.yaml:2: priority: "high" is not a priority\n'
        "  why: priority is a whole number\n"
        "  fix: priority: 10",
    ),
    "two partitions with a space": (
        "run: a\npartition: gpu big\n",
        'error HR-SPEC-003: job.yaml:2: partition: "gpu big" is not a partition\n'
        "  why: this is one word, without spaces\n"
        "  fix: partition: gpu_big",
    ),
    "three errors": (
        "run: a\nnods: 2\ntime: 0\nframework: pytorch\n",
        "error HR-SPEC-004: job.yaml:2: nods: there is no such field (2 more after this one)\n"
        "  why: fields that are not known are refused, so that no typo goes unseen\n"
        "  fix: did you mean nodes: 2",
    ),
}


@pytest.mark.parametrize(("text", "message"), CASES.values(), ids=CASES.keys())
def test_a_wrong_job_file_is_answered_in_full(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(text, file="job.yaml", cwd=tmp_path)
    assert str(caught.value) == message
    assert caught.value.exit_status == 2


def test_an_error_carries_what_programs_need(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(CASES["three errors"][0], file="job.yaml", cwd=tmp_path)
    error = caught.value
    assert (error.file, error.line, error.field, error.value, error.nearest, error.more) == (
        "job.yaml",
        2,
        "nods",
        "2",
        "nodes",
        2,
    )


def test_the_error_that_stands_first_in_the_file_comes_first(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_text("time: 0\nrun: a\nnodes: two\n", file="job.yaml", cwd=tmp_path)
    assert (caught.value.line, caught.value.field, caught.value.more) == (1, "time", 1)


@pytest.mark.parametrize("name", ["secrets with values", "a secret with a value"])
def test_the_value_of_a_secret_is_never_shown(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(CASES[name][0], cwd=tmp_path)
    assert "hunter2" not in f"{caught.value} {vars(caught.value)}"


def test_a_working_folder_that_is_not_there_is_refused_with_its_nearest_parent(
    tmp_path: Path,
) -> None:
    with pytest.raises(SpecError) as caught:
        load_text("run: a\nworkdir: nope/deeper\n", file="job.yaml", cwd=tmp_path)
    assert str(caught.value) == (
        f'error HR-SPEC-003: job.yaml:2: workdir: "{tmp_path}/nope/deeper" is not there\n'
        "  why: the folder of a run exists when it is submitted\n"
        f"  fix: workdir: {tmp_path}"
    )


def test_a_sweep_has_at_most_10000_elements(tmp_path: Path) -> None:
    values = ", ".join(str(number) for number in range(101))
    text = f"run: a\nsweep:\n  a: [{values}]\n  b: [{values}]\n"
    with pytest.raises(SpecError) as caught:
        load_text(text, file="job.yaml", cwd=tmp_path)
    assert str(caught.value) == (
        "error HR-SPEC-005: job.yaml:2: sweep: 10201 combinations\n"
        "  why: a sweep has at most 10000\n"
        "  fix: leave values out, or submit it in parts"
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_before_it_can_exhaust_the_stack(
    opening: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="error HR-SPEC-002"):
        load_text("run: a\nenv: " + opening * 100_000, file="job.yaml", cwd=tmp_path)


def test_an_alias_bomb_is_refused_after_a_bounded_number_of_values(tmp_path: Path) -> None:
    levels = [f"{chr(97 + i)}: &{chr(97 + i)} [" for i in range(9)]
    text = levels[0] + "x]\n"
    for before, level in zip("abcdefgh", levels[1:], strict=True):
        text += level + ",".join([f"*{before}"] * 9) + "]\n"
    with pytest.raises(SpecError) as caught:
        load_text(text, file="job.yaml", cwd=tmp_path)
    assert str(caught.value) == (
        "error HR-SPEC-002: job.yaml:6: grows too large\n"
        "  why: a job file has at most 50000 values, aliases too\n"
        "  fix: write it without aliases"
    )


def test_every_code_has_a_section_in_the_page_of_errors() -> None:
    page = (Path(__file__).parents[3] / "docs" / "errors.md").read_text()
    codes = {kind.code for kind in SpecError.__subclasses__()}
    assert len(codes) == 6
    assert all(f"## {code}\n" in page for code in codes)
    assert issubclass(SpecError, HeadraceError)
