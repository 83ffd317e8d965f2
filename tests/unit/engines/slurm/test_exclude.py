"""Nodes that a run keeps away from."""

from headrace.core.events import Entry, Event, LeadStarted, NodeLost
from headrace.engines.slurm.commands import exclude
from headrace.engines.slurm.exclude import Exclusion, exclusion, given_up, kept_away
from headrace.engines.slurm.rows import parse_nodes

NODES = parse_nodes(
    "n1|2|1000|(null)|main|(null)|allocated\n"
    "n2|2|1000|(null)|main|(null)|allocated\n"
    "n3|2|1000|(null)|main|(null)|idle\n"
    "n4|2|1000|(null)|main|(null)|down*\n"
    "n5|2|1000|(null)|other|(null)|idle\n"
)
BAD = {"n2": "its agent died"}
JOB = {"Partition": "main", "ExcNodeList": "(null)"}


def test_what_the_present_lead_gave_up_is_bad() -> None:
    started = LeadStarted(pid=1, start_ticks=1, boot_id="b")
    lost = NodeLost(node="n2", detail="its agent died")
    gone = NodeLost(node="n2", detail="its agent died", given_up=True)
    words: list[Event] = [
        started,
        NodeLost(node="n9", detail="x", given_up=True),
        started,
        lost,
        gone,
    ]
    lead = [Entry(seq=n, attempt=0, time_s=0.0, event=event) for n, event in enumerate(words)]
    assert given_up(lead) == BAD
    assert given_up(lead[:4]) == {}


def test_a_bad_node_is_excluded_with_a_reason_while_enough_others_are_there() -> None:
    found = exclusion(BAD, JOB, NODES, need=2)
    assert found == Exclusion(nodes=("n2",), comment="headrace excludes n2: its agent died")
    assert exclusion(BAD, JOB, NODES, need=3) is None
    assert exclusion({}, JOB, NODES, need=1) is None


def test_what_the_job_kept_away_from_before_stays_excluded() -> None:
    found = exclusion(BAD, JOB | {"ExcNodeList": "n[3-4]"}, NODES, need=1)
    assert found is not None
    assert found.nodes == ("n2", "n3", "n4")
    assert exclusion(BAD, JOB | {"ExcNodeList": "n[3-4]"}, NODES, need=2) is None


def test_the_command_names_nodes_and_reason() -> None:
    assert exclude("4711_3", ("n2", "n3"), "why so") == [
        *("scontrol", "update", "JobId=4711_3", "ExcNodeList=n2,n3", "Comment=why so")
    ]


def test_a_job_that_waits_tells_from_which_nodes_it_keeps_away_and_why() -> None:
    said = exclusion(BAD, JOB, NODES, need=1)
    assert said is not None
    assert kept_away({"Comment": said.comment}) == "it keeps away from n2: its agent died"
    assert kept_away({"Comment": "for the paper"}) is None
    assert kept_away({}) is None
