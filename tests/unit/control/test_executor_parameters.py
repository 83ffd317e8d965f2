import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.executor.errors import ParameterNotHonoured, ParameterUnknown
from headrace.control.executor.parameters import JOB_FIELDS, job_fields, known, require_known
from headrace.spec import JobSpec, make

SUBMITIT = {
    "timeout_min": 90,
    "mem_gb": 1.5,
    "nodes": 2,
    "tasks_per_node": 8,
    "cpus_per_task": 4,
    "gpus_per_node": 8,
    "name": "fit",
    "slurm_partition": "gpu",
    "slurm_array_parallelism": 16,
    "slurm_setup": ["module load cuda", "ulimit -c 0"],
    "slurm_signal_delay_s": 120,
    "slurm_time": "1-12:00:00",
    "slurm_comment": "for the paper",
    "slurm_exclusive": True,
    "slurm_additional_parameters": {"mail-user": "ada@example.org", "nice": 5},
}


def test_submitits_words_are_fields_of_the_job_file_on_slurm() -> None:
    fields = job_fields(SUBMITIT, "slurm")
    assert fields.pop("array_parallelism") == 16
    spec = make(command=("true",), **fields)
    assert (spec.time_s, spec.memory_bytes, spec.name) == (36 * 3600, 1536 << 20, "fit")
    assert (spec.nodes.min, spec.ranks_per_node, spec.cpus_per_rank) == (2, 8, 4)
    assert (spec.partition, spec.checkpoint.grace_s) == ("gpu", 120)
    assert spec.setup == "set -e\nmodule load cuda\nulimit -c 0"
    assert spec.slurm.sbatch == {
        "comment": "for the paper",
        "exclusive": "",
        "mail-user": "ada@example.org",
        "nice": "5",
    }


def test_what_is_meant_for_slurm_does_not_count_on_this_machine() -> None:
    fields = job_fields(SUBMITIT, "local")
    spec = make(command=("true",), **fields)
    assert (spec.time_s, spec.partition, spec.setup) == (90 * 60, None, None)
    assert spec.slurm.sbatch == {}


def test_the_job_files_own_words_are_taken_as_they_are() -> None:
    given = {"time": "4h", "slurm": {"sbatch": {"comment": "a"}}, "slurm_comment": None}
    require_known(given)
    assert job_fields(given, "slurm") == {"time": "4h", "slurm": {"sbatch": {"comment": "a"}}}


def test_every_field_of_the_job_file_is_known_but_those_about_the_program() -> None:
    """``snapshot`` copies a program's folder; functions come by value or from where they are."""
    fields = {name.removesuffix("_bytes").removesuffix("_s") for name in JobSpec.model_fields}
    assert fields - set(JOB_FIELDS) == {
        *("run", "python", "command", "script", "interpreter", "notes"),
        *("sweep", "array", "snapshot"),
    }


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ParameterUnknown) as error:
        require_known({"gpu_per_node": 8})
    assert error.value.problem == 'there is no parameter "gpu_per_node"'
    assert "gpus_per_node" in error.value.remedy
    assert "timeout_min" in error.value.why


@pytest.mark.parametrize("name", ["slurm_mem_per_cpu", "slurm_srun_args", "stderr_to_stdout"])
def test_what_cannot_be_honoured_is_refused_and_never_passed_over(name: str) -> None:
    with pytest.raises(ParameterNotHonoured, match=f"{name} is not honoured"):
        require_known({name: "1"})
    require_known({name: None})


@given(st.text(max_size=20))
def test_a_name_is_known_or_refused_and_nothing_else(name: str) -> None:
    try:
        require_known({name: 1})
    except (ParameterUnknown, ParameterNotHonoured):
        assert name not in JOB_FIELDS
    else:
        assert name in known() or name.replace("local_", "slurm_", 1) in known()


@given(st.dictionaries(st.sampled_from(known()), st.none()), st.sampled_from(["local", "slurm"]))
def test_none_is_not_given(parameters: dict[str, None], engine: str) -> None:
    require_known(parameters)
    assert job_fields(parameters, engine) == {}
