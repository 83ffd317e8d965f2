"""Whole programs that use ``headrace.Executor`` on this machine's own queue."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.site import Site, until

from headrace import data

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/reference/executor.md"

FOR_SUBMITIT = """
import submitit

def add(a, b):
    print("adding", a, b)
    return a + b

def where():
    env = submitit.JobEnvironment()
    return env.global_rank, env.num_tasks, env.node, env.num_nodes

class Train:
    def __call__(self, n):
        return n
    def checkpoint(self, n):
        return submitit.helpers.DelayedSubmission(self, n)

executor = submitit.AutoExecutor(folder="logs/%j", cluster="local", slurm_max_num_timeout=3)
executor.update_parameters(timeout_min=4, cpus_per_task=1, mem_gb=0.2, name="mine",
                           slurm_partition="gpu", slurm_array_parallelism=2)
job = executor.submit(add, 5, 7)
print(job.result(), job.stdout().strip(), job.state)
print([job.result() for job in executor.map_array(add, [1, 2], [10, 20])])
with executor.batch():
    jobs = [executor.submit(add, k, 1) for k in range(3)]
print([job.result() for job in jobs], [job.done() for job in jobs])
print("ZeroDivisionError" in repr(executor.submit(divmod, 1, 0).exception()))
print(executor.submit(Train(), 20).result())
executor.update_parameters(tasks_per_node=2)
print(executor.submit(where).results())
"""
SAID = """12 adding 5 7 COMPLETED
[11, 22]
[1, 2, 3] [True, True, True]
True
20
[(0, 2, 0, 1), (1, 2, 0, 1)]
"""

LEAVES = """
import signal
import time
import headrace

signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts the tests may ignore it

def wait_for(gate):
    import os
    while not os.path.exists(gate):
        time.sleep(0.05)
    return "went on"

job = headrace.Executor(engine="local").submit(wait_for, GATE)
print(job.job_id, flush=True)
job.result(TIMEOUT)
"""


def program(site: Site, folder: Path, text: str) -> list[str]:
    path = folder / "program.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def said(site: Site, folder: Path, text: str) -> str:
    argv = program(site, folder, text)
    done = subprocess.run(
        argv,
        env=site.environment | {"HEADRACE_ENGINE": "local"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_runs_as_it_is_written(site: Site, tmp_path: Path) -> None:
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    use = "\nprint(headrace.Executor().submit(Sum(), 5).result())\n"
    lines = said(site, tmp_path, first + second + use).splitlines()
    assert re.fullmatch(r"fit-\d+ 0.1", lines[0])
    assert lines[1:] == ["best: 0.3", "10"]


def test_a_program_for_submitit_moves_by_its_import_alone(site: Site, tmp_path: Path) -> None:
    text = FOR_SUBMITIT.replace("import submitit\n", "import headrace as submitit\n", 1)
    assert said(site, tmp_path, text) == SAID
    assert list((tmp_path / "logs").glob("*/outcomes/*"))


def test_runs_go_on_when_their_program_is_interrupted_and_results_are_had_later(
    site: Site, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    text = LEAVES.replace("GATE", repr(str(gate))).replace("TIMEOUT", "None")
    with subprocess.Popen(
        program(site, tmp_path, text),
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        until(lambda: site.status(job_id)["state"] == "RUNNING")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, trouble = process.communicate(timeout=20)
    assert trouble.strip().endswith("KeyboardInterrupt")
    assert site.status(job_id)["state"] == "RUNNING"
    gate.touch()
    later = f"import headrace\nprint(headrace.Executor().attach({job_id!r})[0].result(60))"
    assert said(site, tmp_path, later) == "went on\n"


TRAINS = """
import sys
import headrace
sys.path.append(TESTS)

def fit(corpus, started):
    import time, torch
    from pathlib import Path
    from tests.integration.train_program import Net, loss_of
    from headrace import data, train
    with train.session(seed=3) as run:
        dataset = data.open(corpus)
        with run.init():
            net = Net(dataset.vocab, noise=False)
        model = run.parallelize(net)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        run.track(model=model, optimizer=optimizer)
        first = None
        for step in run.steps(run.batches(dataset, global_batch=8, seed=7), until="40 steps"):
            first = step.number if first is None else first
            step.backward(model, lambda m, micro: loss_of(m, micro, False))
            optimizer.step()
            optimizer.zero_grad()
            time.sleep(0.05)
            if step.number > 3:
                Path(started).touch()
        return first, run.step

job = headrace.Executor(engine="local").submit(fit, CORPUS, STARTED)
print(job.job_id, flush=True)
print(job.result(100))
"""


def test_a_training_that_is_requeued_gives_the_result_of_the_whole(
    site: Site, tmp_path: Path
) -> None:
    text, corpus, started = tmp_path / "text", tmp_path / "text.tokens", tmp_path / "started"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(200)))
    data.pack_text([text], corpus, window=16)
    places = {"TESTS": str(REPOSITORY), "CORPUS": corpus.name, "STARTED": started.name}
    words = TRAINS
    for word, place in places.items():
        words = words.replace(word, repr(place))
    with subprocess.Popen(
        program(site, tmp_path, words),
        env=site.environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        until(started.exists, timeout_s=60.0)
        site("requeue", job_id)
        said, _ = process.communicate(timeout=120)
    first, last = map(int, re.findall(r"\d+", said))
    assert 3 < first <= 40
    assert last == 40
    assert len(site.status(job_id)["attempts"]) == 2
