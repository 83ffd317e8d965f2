"""``from headrace import simulate``, as a program uses it."""

import re
import subprocess
import sys
from pathlib import Path

from tests.replays import cluster, job, trace

from headrace import simulate

ROOT = Path(__file__).parent.parent.parent.parent


def test_the_programs_of_the_page_run() -> None:
    text = (ROOT / "docs/reference/simulate.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(programs) == 1
    exec(compile(programs[0], "simulate.md", "exec"), {})


def test_the_verbs_stay_callable_after_their_modules_were_used(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("id,submit_s,run_s,gpus_per_node\na,0,60,8\nb,1,60,8\n")
    for _ in range(2):
        found = simulate.replay(simulate.read(path, cluster="1x8gpu"), "fifo")
        assert found["fifo"].wait_s is not None
        assert found["fifo"].wait_s.max == 59


def test_a_trace_may_be_put_on_another_cluster() -> None:
    made = trace(job("a", 0, 60), job("b", 0, 60), where=cluster(1))
    waits = [
        simulate.compare(made, ["fifo"], cluster=where)["fifo"].wait_s
        for where in (None, "2x4gpu", cluster(2))
    ]
    assert [wait.max for wait in waits if wait] == [60, 0, 0]


def test_import_headrace_stays_light() -> None:
    probe = "import headrace, sys; print({'numpy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_simulating_draws_nothing_until_a_picture_is_asked_for() -> None:
    probe = (
        "import headrace.cli.simulate, headrace.simulate, sys; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
