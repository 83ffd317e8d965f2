"""slurm.conf, topology.conf and sacctmgr's commands as a cluster."""

from pathlib import Path

import pytest

from headrace.schedule.cluster import Account, Cluster, Tres, Weights
from headrace.simulate.errors import RowInvalid, TraceUnusable
from headrace.simulate.read import read_site
from headrace.simulate.readers import sacctmgr, slurm_conf
from headrace.simulate.readers.hostlist import expand
from headrace.simulate.readers.remarks import BadField
from headrace.simulate.readers.site import SlurmSite

NODES = "NodeName=n[1-4] CPUs=8 RealMemory=1000 Feature=ib,cpu-a\n"
GIB = 1 << 30


def read(text: str, topology: str = "") -> SlurmSite:
    return slurm_conf.read(NODES + text, name="slurm.conf", topology=topology)


def with_accounts(script: str, conf: str = "") -> Cluster:
    return sacctmgr.onto_site(read(conf), script, name="accounts").cluster


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10,12],login", ["n08", "n09", "n10", "n12", "login"]),
        ("r[1-2]m[1-2]", ["r1m1", "r1m2", "r2m1", "r2m2"]),
        ("a[1]-ib", ["a1-ib"]),
    ],
)
def test_node_names_are_expanded(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize("text", ["", "n[3-1]", "n[a-b]", "n[1", "n[1-999999999]", "n[]"])
def test_broken_node_names_are_refused(text: str) -> None:
    with pytest.raises(BadField):
        expand(text)


def test_nodes_take_the_default_line_before_them() -> None:
    site = read(
        "NodeName=DEFAULT Sockets=2 CoresPerSocket=16 RealMemory=2000\n"
        "NodeName=g1 Gres=gpu:h100:4,nvme:1 \\\n  Feature=ib\n"
        "NodeName=g2 CPUs=40 Gres=gpu:2 # a comment\n"
    )
    g1, g2 = site.cluster.nodes[4:]
    assert (g1.cpus, g1.memory_bytes, g1.gpus) == (32, 2000 << 20, (("h100", 4),))
    assert (g1.features, g2.cpus, g2.gpus) == (("ib",), 40, (("gpu", 2),))


def test_nodes_stand_in_the_order_in_which_slurm_fills_them() -> None:
    site = read("NodeName=fat CPUs=8 Weight=50\nNodeName=thin CPUs=8 Weight=1\n")
    assert [node.name for node in site.cluster.nodes] == ["n1", "n2", "n3", "n4", "thin", "fat"]


def test_nodes_that_are_down_are_left_out_and_a_note_says_so() -> None:
    site = read("NodeName=f[1-3] CPUs=8 State=FUTURE\n")
    assert len(site.cluster.nodes) == 4
    assert site.notes == ("3 nodes are FUTURE and left out: f1...",)


def test_partitions_have_their_limits_and_defaults() -> None:
    site = read(
        "PartitionName=DEFAULT MaxTime=2-00:00:00 DefMemPerCPU=100\n"
        "PartitionName=a Nodes=n[1-2] Default=YES PriorityTier=3 MaxNodes=2 QOS=a AllowQOS=x,y\n"
        "PartitionName=b Nodes=ALL MaxTime=INFINITE Priority=7 AllowAccounts=ALL\n"
    )
    a, b = site.cluster.partitions
    assert (a.nodes, a.default, a.tier, a.job_factor) == (("n1", "n2"), True, 3, 1)
    assert (a.max_time_s, a.max_nodes, a.qos, a.allow_qos) == (172_800, 2, "a", ("x", "y"))
    assert (b.nodes, b.max_time_s, b.tier, b.job_factor, b.allow_accounts) == ((), None, 7, 7, ())
    assert site.memory["a"].per_cpu_bytes == 100 << 20


def test_a_set_of_nodes_is_one_by_feature_or_by_name() -> None:
    site = read(
        "NodeSet=fast Feature=cpu-a\nNodeSet=two Nodes=n[3-4]\n"
        "PartitionName=a Nodes=fast\nPartitionName=b Nodes=two,n1\n"
    )
    assert [len(one.nodes) for one in site.cluster.partitions] == [4, 3]


def test_weights_are_slurms() -> None:
    site = read(
        "PriorityWeightAge=10\nPriorityWeightFairshare=20\nPriorityWeightQOS=30\n"
        "PriorityMaxAge=1-0\nPriorityDecayHalfLife=0-4\nPriorityFavorSmall=YES\n"
        "PriorityFlags=NO_FAIR_TREE,MAX_TRES,ACCRUE_ALWAYS\nFairShareDampeningFactor=5\n"
        "PriorityWeightTRES=CPU=1,GRES/gpu=300\n"
    )
    assert site.cluster.weights == Weights(
        age=10,
        fairshare=20,
        qos=30,
        tres=Tres(cpu=1, gpu=300),
        max_age_s=86_400,
        half_life_s=14_400,
        favor_small=True,
        fair_tree=False,
        dampening=5,
        max_tres=True,
    )
    assert site.notes == ("PriorityFlags: ACCRUE_ALWAYS is not modelled",)


def test_raw_tres_weights_become_weights_of_the_whole_machine() -> None:
    site = read("PriorityWeightTRES=CPU=2,Mem=.5\nPriorityFlags=NO_NORMAL_TRES\n")
    assert site.cluster.weights.tres == Tres(cpu=64, memory=2000)


def test_how_slurm_schedules_is_read() -> None:
    found = read(
        "SchedulerParameters=bf_window=4320,bf_interval=120,bf_max_job_test=2500,bf_continue,"
        "default_queue_depth=200,bf_resolution=600\nPreemptType=preempt/qos\nPreemptMode=REQUEUE\n"
    ).cluster.scheduling
    assert (found.bf_window_s, found.bf_interval_s, found.bf_resolution_s) == (259_200, 120, 600)
    assert (found.bf_max_job_test, found.default_queue_depth, found.bf_continue) == (
        *(2500, 200),
        True,
    )
    assert (found.preempt_type, found.preempt_mode, found.backfill) == ("qos", "requeue", True)


def test_switches_are_paths_from_the_root() -> None:
    site = read(
        "", "SwitchName=s1 Nodes=n[1-2]\nSwitchName=s2 Nodes=n3\nSwitchName=c Switches=s[1-2]\n"
    )
    assert [node.switch for node in site.cluster.nodes] == ["c/s1", "c/s1", "c/s2", ""]


def test_switches_above_each_other_in_a_ring_end_somewhere() -> None:
    topology = "SwitchName=a Switches=b Nodes=n1\nSwitchName=b Switches=a\n"
    assert read("", topology).cluster.nodes[0].switch.endswith("a")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("NodeName=x CPUs=many", "cpus"),
        ("NodeName=x[1 CPUs=1", "NodeName"),
        ("NodeName=x RealMemory=48GB", "RealMemory"),
        ("NodeName=x Gres=gpu:a:b:c", "Gres"),
        ("PartitionName=p Nodes=gone", "Nodes"),
        ("PartitionName=p MaxTime=soon", "MaxTime"),
    ],
)
def test_a_line_that_breaks_a_rule_is_named(line: str, field: str) -> None:
    with pytest.raises(RowInvalid) as caught:
        read("\n" + line + "\n")
    assert (caught.value.line, caught.value.field) == (3, field)


def test_a_file_without_nodes_is_refused() -> None:
    with pytest.raises(RowInvalid, match="NodeName"):
        slurm_conf.read("ClusterName=x\n", name="slurm.conf")


def test_accounts_users_and_qos_come_from_sacctmgrs_commands() -> None:
    cluster = with_accounts(
        "sacctmgr -i add qos high Priority=100 GrpTRES=gres/gpu=8,cpu=64 Flags=DenyOnLimit\n"
        "add cluster Name=c QOS=normal,high\n"
        "add account name=lab Fairshare=40 MaxJobs=5\n"
        "add account name=sub parent=lab\n"
        "add user name=ada,bob DefaultAccount=sub Fairshare=parent\n"
        "modify user where name=bob set qos=normal MaxWall=1-00:00:00\n"
        "list associations\n"
    )
    lab, sub, ada, bob = cluster.accounts
    assert (lab.shares, lab.limits.max_jobs, lab.qos) == (40, 5, ("normal", "high"))
    assert (sub.name, sub.parent) == ("sub", "lab")
    assert ada == Account(name="sub", user="ada", shares=None, qos=("normal", "high"))
    assert (bob.qos, bob.limits.max_wall_s) == (("normal",), 86_400)
    high = next(one for one in cluster.qos if one.name == "high")
    assert (high.priority, high.deny_on_limit) == (100, True)
    assert high.limits.grp_tres == Tres(gpu=8, cpu=64)


def test_a_dump_is_read_too() -> None:
    cluster = with_accounts(
        "Cluster - 'c':Fairshare=1:QOS='normal'\n"
        "Parent - 'root'\n"
        "Account - 'lab':Description='the lab':Organization='x':Fairshare=7:GrpTRES=cpu=10\n"
        "Parent - 'lab'\n"
        "User - 'ada':DefaultAccount='lab':Fairshare=2:MaxJobs=3\n"
    )
    lab, ada = cluster.accounts
    assert (lab.name, lab.parent, lab.shares, lab.limits.grp_tres.cpu) == ("lab", None, 7, 10)
    assert (ada.name, ada.user, ada.shares, ada.limits.max_jobs) == ("lab", "ada", 2, 3)


def test_a_limit_of_minus_one_is_none_and_what_a_list_does_not_name_stays() -> None:
    cluster = with_accounts(
        "add qos q MaxTRESPerUser=cpu=8,gres/gpu=2 MaxJobsPerUser=9\n"
        "modify qos q set MaxTRESPerUser=cpu=-1 MaxJobsPerUser=-1\n"
    )
    found = next(one.limits for one in cluster.qos if one.name == "q")
    assert (found.max_tres_pu, found.max_jobs_pu) == (Tres(gpu=2), None)


def test_who_may_displace_whom_counts_only_where_preemption_is_by_qos() -> None:
    script = "add qos high Preempt=normal GraceTime=60\n"
    quiet = with_accounts(script)
    loud = with_accounts(script, "PreemptType=preempt/qos\nPreemptMode=REQUEUE\n")
    assert [one.preempts for one in quiet.qos] == [(), ()]
    assert [(one.preempts, one.grace_s) for one in loud.qos] == [((), 0), (("normal",), 60)]


def test_includes_and_a_topology_beside_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=x\nInclude nodes.conf\n")
    (tmp_path / "nodes.conf").write_text(NODES)
    (tmp_path / "topology.conf").write_text("SwitchName=s1 Nodes=n1\n")
    site = read_site(tmp_path / "slurm.conf")
    assert [node.switch for node in site.cluster.nodes] == ["s1", "", "", ""]


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text("include slurm.conf\n")
    with pytest.raises(TraceUnusable, match="includes too much"):
        read_site(tmp_path / "slurm.conf")
