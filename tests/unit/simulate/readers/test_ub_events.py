"""Events of the UB Slurm simulator, with and without a site that says what is left open."""

import pytest
from tests.shared import shared

from headrace.core.states import State
from headrace.simulate.errors import RowInvalid
from headrace.simulate.read import read_site, read_trace
from headrace.simulate.readers import sacctmgr, slurm_conf, ub_events
from headrace.simulate.readers.site import SlurmSite
from headrace.simulate.trace import TraceJob

CONF = """
NodeName=n[1-2] CPUs=12 RealMemory=48000
NodeName=big CPUs=40 RealMemory=48000 Feature=BIG
PartitionName=normal Nodes=ALL Default=YES DefMemPerCPU=2800 DefaultTime=30 MaxTime=60
"""
SITE = sacctmgr.onto_site(
    slurm_conf.read(CONF, name="slurm.conf"),
    "add account lab\nadd user ada DefaultAccount=lab\n",
    name="accounts",
)


def event(options: str, *, walltime: str = "90", at: str = "10.5") -> str:
    return f"-dt {at} -e submit_batch_job | -sim-walltime {walltime} {options} pseudo.job -p other"


def job(options: str, *, site: SlurmSite | None = SITE, walltime: str = "90") -> TraceJob:
    (one,) = ub_events.read(event(options, walltime=walltime), name="e", site=site).jobs
    return one


def test_a_line_is_a_job_with_sbatch_options() -> None:
    one = job("-J j1 --uid=ada -N 2 -n 18 -t 1-00:00:00 -q high -p normal --mem=1G -C BIG -A own")
    assert (one.job.id, one.job.submitted_s, one.run_s) == ("j1", 10.5, 90)
    assert (one.job.user, one.job.account, one.job.qos) == ("ada", "own", "high")
    assert (one.job.partitions, one.job.constraint) == (("normal",), "BIG")
    assert (one.job.request.nodes_max, one.job.request.cpus_per_node) == (2, 9)
    assert (one.job.limit_s, one.job.request.memory_bytes) == (86_400, 1 << 30)


def test_tasks_a_node_say_how_many_nodes() -> None:
    request = job("-n 36 --ntasks-per-node=12 -c 2").job.request
    assert (request.nodes_min, request.ranks_per_node, request.cpus_per_rank) == (3, 12, 2)


@pytest.mark.parametrize(
    ("option", "gpus"),
    [
        ("--gres=gpu:2", (2, None)),
        ("--gres=gpu:a100:2(S:0)", (2, "a100")),
        ("--gres=gpu:2080ti:4", (4, "2080ti")),
        ("--gres=gpu:3090:8", (8, "3090")),
        ("--gres=license:3,gpu:1", (1, None)),
        ("--gpus-per-node=h100:4", (4, "h100")),
        ("--ntasks-per-node=4 --gpus-per-task=1", (4, None)),
    ],
)
def test_gpus_are_read_in_all_ways_to_ask(option: str, gpus: tuple[int, str | None]) -> None:
    request = job(option).job.request
    assert (request.gpus_per_node, request.gpu_type) == gpus


def test_what_is_left_out_is_what_the_site_says() -> None:
    one = job("--uid=ada -n 2 --ntasks-per-node=2")
    assert (one.job.account, one.job.limit_s) == ("lab", 1800)
    assert one.job.request.memory_bytes == 2 * 2800 << 20


def test_without_a_site_it_stays_open() -> None:
    one = job("--uid=ada", site=None)
    assert (one.job.account, one.job.limit_s, one.job.request.memory_bytes) == ("", None, None)


def test_a_job_past_its_limit_is_stopped_there() -> None:
    one = job("-t 1", walltime="61")
    assert (one.run_s, one.state) == (60, State.TIMEOUT)


def test_a_negative_walltime_runs_to_the_limit() -> None:
    one = job("-t 2", walltime="-1")
    assert (one.run_s, one.state) == (120, State.TIMEOUT)


def test_a_whole_node_is_the_smallest_that_fits() -> None:
    assert job("-n 4 --exclusive").job.request.cpus_per_node == 12
    assert job("-n 4 --exclusive -C BIG").job.request.cpus_per_node == 40


def test_other_events_are_left_out_and_a_note_says_so() -> None:
    text = event("-J a") + "\n-dt 20 -e cancel | -J a\n"
    trace = ub_events.read(text, name="e")
    assert trace.notes == ("events other than submit_batch_job are not replayed",)


def test_a_wrong_value_is_named_with_its_line() -> None:
    with pytest.raises(RowInvalid, match=r'e:1: --mem: "lots"'):
        ub_events.read(event("--mem=lots"), name="e")


def test_groups_stand_in_for_accounts() -> None:
    groups = ub_events.read_groups("ada:1001:physics:1001\n")
    (one,) = ub_events.read(event("--uid=ada"), name="e", groups=groups).jobs
    assert one.job.account == "physics"


def test_the_micro_trace_is_read_whole_with_its_own_site() -> None:
    folder = ("traces", "slurm_ubccr")
    site = read_site(
        shared(*folder, "micro_slurm.conf"), accounts=shared(*folder, "micro_sacctmgr.script")
    )
    trace = read_trace(shared(*folder, "micro_jobs500.events"), site=site)
    assert len(trace.jobs) == 500
    assert trace.cluster is site.cluster
    assert len(site.cluster.nodes) == 10
    assert {one.job.account for one in trace.jobs} == {"account1", "account2"}


def test_the_ub_week_is_read_whole_with_its_own_site() -> None:
    folder = ("traces", "slurm_ubccr")
    site = read_site(
        shared(*folder, "ubhpc_slurm.conf"), accounts=shared(*folder, "ubhpc_sacctmgr.script")
    )
    trace = read_trace(shared(*folder, "ubhpc_workload_week.events.xz"), site=site)
    assert len(trace.jobs) == 19_579
    assert len(site.cluster.nodes) == 217
    assert all(one.job.account.startswith("account") for one in trace.jobs)
