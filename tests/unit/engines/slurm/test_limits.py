"""Limits in force, from recorded text of scontrol show assoc_mgr (22.05)."""

import pytest

from headrace.core.records import replace
from headrace.engines.slurm.limits import (
    Need,
    amounts_of,
    entitlements,
    hits,
    in_force,
    is_limit,
    parse_grades,
)
from headrace.schedule.reason import sentence

TEXT = """\
Current Association Manager state
Association Records
ClusterName=virtual Account=root UserName= Partition= Priority=0 ID=1 \
SharesRaw/Norm/Level/Factor=1/0.00/1/0.00 UsageRaw/Norm/Efctv=3471.64/1.00/1.00 ParentAccount= \
Lft=1 DefAssoc=No GrpJobs=N(4) GrpSubmitJobs=N(10) GrpWall=N(9.64) GrpTRES=cpu=N(4),mem=N(400) \
MaxJobs= MaxWallPJ= MaxTRESPJ=
ClusterName=virtual Account=lab1 UserName= Partition= Priority=0 ID=3 \
SharesRaw/Norm/Level/Factor=3/0.60/5/0.00 UsageRaw/Norm/Efctv=3471.64/1.00/0.94 \
ParentAccount=root(1) Lft=8 DefAssoc=No GrpJobs=3(3) GrpSubmitJobs=N(6) GrpWall=N(9.64) \
GrpTRES=cpu=5(3),mem=4000(300),node=N(2),gres/gpu=4(0) GrpTRESMins=cpu=N(57) \
GrpTRESRunMins=cpu=N(30) MaxJobs= MaxWallPJ=120 MaxTRESPJ=
ClusterName=virtual Account=lab1 UserName=ada(1001) Partition= Priority=0 ID=6 \
SharesRaw/Norm/Level/Factor=2147483647/0.60/0/0.40 UsageRaw/Norm/Efctv=815.31/0.23/0.23 \
ParentAccount= Lft=11 DefAssoc=Yes GrpJobs=N(3) GrpTRES=cpu=N(3) GrpTRESMins=cpu=10000(13) \
MaxJobs=2(3) MaxWallPJ= MaxTRESPJ=
ClusterName=virtual Account=lab2 UserName= Partition= Priority=0 ID=4 \
SharesRaw/Norm/Level/Factor=1/0.20/5/0.00 UsageRaw/Norm/Efctv=0.00/0.00/0.00 \
ParentAccount=root(1) Lft=2 DefAssoc=No GrpJobs=1(0)
QOS Records
QOS=normal(1) UsageRaw=3471.641784 GrpJobs=N(4) GrpTRES=cpu=N(4) MaxWallPJ=240 MaxTRESPJ= \
PreemptMode=REQUEUE Priority=100 Account Limits= lab1={MaxJobsPA=8(3) MaxTRESPA=cpu=N(3)} \
lab2={MaxJobsPA=8(1)} User Limits= 1001={MaxJobsPU=5(4) MaxTRESPU=cpu=N(4),node=2(2)} \
1002={MaxJobsPU=5(0) MaxTRESPU=node=2(0)}
"""
GRADES = parse_grades(TEXT, "ada", 1001)


def need(account: str = "lab1", limit_s: float = 600.0) -> Need:
    amounts = amounts_of("cpu=3,mem=200M,node=1,billing=3,gres/gpu=6")
    return Need(account=account, qos=("normal",), user="ada", amounts=amounts, limit_s=limit_s)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("AssocGrpJobsLimit", "account lab1 is at its GrpJobs limit: 3 of 3 runs running"),
        ("AssocGrpGRES", "GrpTRES gpu of account lab1 is 4, this run needs 6"),
        ("AssocMaxJobsLimit", "ada in account lab1 is at its MaxJobs limit: 3 of 2 runs running"),
        (
            "QOSMaxNodePerUserLimit",
            "ada in QOS normal is at its MaxTRESPerUser node limit: 2 of 2 in use, "
            "this run needs 1",
        ),
        (
            "AssocGrpCpuLimit",
            "account lab1 is at its GrpTRES cpu limit: 3 of 5 in use, this run needs 3",
        ),
    ],
)
def test_slurms_word_for_a_limit_gets_its_owner_and_its_numbers(word: str, said: str) -> None:
    assert is_limit(word)
    assert [sentence(hit) for hit in hits(word, in_force(GRADES, need()))] == [said]


def test_a_run_that_is_too_long_for_its_account_and_its_qos_hits_the_one_that_is_named() -> None:
    found = in_force(GRADES, need(limit_s=5 * 3600.0))
    assert [hit.owner for hit in hits("QOSMaxWallDurationPerJobLimit", found)] == ["QOS normal"]
    assert [hit.owner for hit in hits("AssocMaxWallDurationPerJobLimit", found)] == ["account lab1"]


def test_limits_of_other_accounts_users_and_qos_are_not_in_force() -> None:
    owners = {hit.owner for hit in in_force(GRADES, need())}
    assert owners == {
        "account lab1",
        "ada in account lab1",
        "QOS normal",
        "ada in QOS normal",
        "account lab1 in QOS normal",
    }
    assert {hit.owner for hit in in_force(GRADES, need("lab2"))} == {
        "account lab2",
        "QOS normal",
        "ada in QOS normal",
        "account lab2 in QOS normal",
    }


def test_shares_go_from_the_account_down_to_the_user() -> None:
    lab, ada = entitlements(GRADES, need())
    assert (lab.account, lab.user, lab.promised, lab.used) == ("lab1", None, 0.6, 0.94)
    assert (ada.user, ada.promised, ada.used) == ("ada", None, 0.23)


@pytest.mark.parametrize("word", ["Priority", "Resources", "JobHeldUser", "ReqNodeNotAvail"])
def test_other_words_are_no_limits(word: str) -> None:
    assert not is_limit(word)
    assert hits(word, in_force(GRADES, need())) == []


def test_the_qos_of_the_partition_is_in_force_beside_the_runs_own() -> None:
    more = (
        TEXT + "QOS=partq(4) UsageRaw=14.0 GrpJobs=1(1) Account Limits=No Accounts User Limits=\n"
    )
    grades = parse_grades(more, "ada", 1001)
    both = replace(need(), qos=("normal", "partq"))
    found = hits("QOSGrpJobsLimit", in_force(grades, both))
    assert [sentence(hit) for hit in found] == [
        "QOS partq is at its GrpJobs limit: 1 of 1 runs running"
    ]
    assert hits("QOSGrpJobsLimit", in_force(grades, need())) == []
