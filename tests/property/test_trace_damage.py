"""Damaged files: whatever stands in one, the answer is a trace or an error of ours."""

import contextlib
import lzma
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.errors import HeadraceError
from headrace.simulate.machine import parse_cluster
from headrace.simulate.read import FORMATS, read_site, read_trace

WHOLE = {
    "swf": "; MaxProcs: 64\n"
    + "".join(f"{i} {i} 5 10 2 -1 -1 2 60 -1 1 1 1 {'-1 ' * 5}\n" for i in range(4)),
    "batsim": '{"nb_res": 4, "jobs": [{"id": 1, "subtime": 0, "res": 2, "walltime": 9, '
    '"profile": "d"}], "profiles": {"d": {"type": "delay", "delay": 5}}}',
    "sacct": "JobID|State|Submit|Eligible|Start|End|Elapsed|Timelimit|AllocTRES|JobName\n"
    + "7_[1-9%4]|PENDING|2026-01-05T10:00:00|Unknown|Unknown|Unknown|00:00:00|UNLIMITED||a|b\n"
    + "8|COMPLETED|2026-01-05T10:00:00|2026-01-05T10:00:00|2026-01-05T10:00:00|"
    "2026-01-05T10:01:00|00:01:00|01:00:00|cpu=4,gres/gpu:a100=2,mem=4G,node=1|x\ny\n",
    "philly": "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,a\n",
    "openb": "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
    "deletion_time,scheduled_time\np,6000,12288,2,1000,T4,LS,Running,100,500,130\n",
    "csv": "id,submit_s,run_s,nodes,gpus_per_node,memory,after\na,0,1,2-8,H100:8,4G,\n"
    "b,0,1,2,8,400G,ok:a\n",
    "ub": "-dt 1 -e submit_batch_job | -sim-walltime 5 --uid=a -n 4 -t 1 --gres=gpu:a:2 "
    "--mem=4G -d afterok:1 x.job\n",
}
CONF = (
    "NodeName=DEFAULT CPUs=4\nNodeName=n[1-4] Gres=gpu:a:2 Feature=x\nPartitionName=p Nodes=ALL "
    "MaxTime=1-0\nSchedulerParameters=bf_window=10,bf_continue\nPriorityWeightTRES=CPU=1,Mem=.5\n"
)
ACCOUNTS = (
    "add qos q Priority=1 GrpTRES=cpu=1,gres/gpu=2\nadd account a Fairshare=1 parent=root\n"
    "add user u DefaultAccount=a\nmodify user u set qos+=q\nAccount - 'b':Fairshare=2\n"
)


def test_every_format_has_a_whole_file_here() -> None:
    assert set(WHOLE) == set(FORMATS)


@st.composite
def damaged(draw: st.DrawFn, whole: str) -> bytes:
    """Cut, with pieces thrown in, twice, or swapped."""
    data = whole.encode()
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        pieces = (
            b"",
            draw(st.binary(max_size=8)),
            draw(st.text(max_size=6)).encode(errors="replace"),
            draw(st.sampled_from([b"-1", b"1e999", b"9" * 30, b"nan", b"|", b'"', b"\n", b"[1-"])),
            data[at : at + length] * 2,
        )
        data = data[:at] + draw(st.sampled_from(pieces)) + data[at + length :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
@quick
def test_a_damaged_trace_is_read_or_refused(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(data.draw(damaged(WHOLE[kind])))
    for format_ in (None, kind):
        with contextlib.suppress(HeadraceError):
            trace = read_trace(path, format=format_)
            assert trace.jobs
            assert len({one.job.id for one in trace.jobs}) == len(trace.jobs)
            assert all(one.run_s >= 0 and one.job.request.nodes_min >= 1 for one in trace.jobs)


@given(st.binary(max_size=200))
@quick
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("trace", "trace.xz", "trace.gz", "trace.tar"):
        (tmp_path / name).write_bytes(content)
        for format_ in (None, *FORMATS):
            with contextlib.suppress(HeadraceError):
                read_trace(tmp_path / name, format=format_)


@given(st.data())
@quick
def test_a_cut_archive_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = lzma.compress(WHOLE["swf"].encode())
    (tmp_path / "a.xz").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(HeadraceError):
        read_trace(tmp_path / "a.xz")


@given(data=st.data())
@quick
def test_damaged_site_files_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    conf, accounts = tmp_path / "slurm.conf", tmp_path / "accounts"
    conf.write_bytes(data.draw(damaged(CONF)))
    accounts.write_bytes(data.draw(damaged(ACCOUNTS)))
    for given_accounts in (None, accounts):
        with contextlib.suppress(HeadraceError):
            assert read_site(conf, accounts=given_accounts).cluster.nodes


@given(st.text(max_size=20) | st.from_regex(r"\d{1,3}x\w{1,9}(:\d)?(,\w{1,5})*", fullmatch=True))
def test_a_short_cluster_is_one_or_refused(text: str) -> None:
    with contextlib.suppress(HeadraceError):
        assert parse_cluster(text).nodes
