"""How the cost of a replay grows: EASY with multifactor priority on clusters that grow with it.

10,000, 100,000 and 1,000,000 drawn jobs at a load of 0.95 on as many nodes of 8 GPUs as keep their
span alike: the largest is 1,000,000 jobs on 100,000 GPUs. Budget for that: 10 minutes of one core
and 2 GiB. Fair share, age and size weigh in; priorities are worked out anew every 5 minutes.

    python benchmarks/schedule_growth.py [--most 1000000]
"""

import argparse
import resource
import time

from headrace.core.records import replace
from headrace.schedule.cluster import Weights
from headrace.schedule.policies import policy
from headrace.simulate.replay import replay
from headrace.simulate.synthetic import Synthesis, synthesize
from headrace.simulate.trace import Trace

SIZES = ((10_000, 1_000), (100_000, 10_000), (1_000_000, 100_000))
LOAD = 0.95
BUDGET_S, BUDGET_GIB = 600.0, 2.0
WEIGHTS = Weights(age=1_000, fairshare=10_000, job_size=1_000, favor_small=False)


def drawn(jobs: int, gpus: int) -> Trace:
    trace = synthesize(Synthesis(jobs=jobs, gpus=gpus, load=LOAD, seed=7))
    assert trace.cluster is not None
    return replace(trace, cluster=replace(trace.cluster, weights=WEIGHTS))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--most", type=int, default=SIZES[-1][0], help="jobs of the largest")
    most = options.parse_args().most
    print(f"{'jobs':>9}{'GPUs':>9}{'CPU s':>9}{'jobs/s':>9}{'GiB':>7}{'mean wait s':>13}")
    spent_s = 0.0
    for jobs, gpus in SIZES:
        if jobs > most:
            break
        trace = drawn(jobs, gpus)
        began_s = time.process_time()
        result = replay(trace, policy("easy-fairshare"))
        spent_s = time.process_time() - began_s
        waits = [
            start_s - one.job.submitted_s
            for one, start_s in zip(trace.jobs, result.start_s, strict=True)
            if start_s is not None
        ]
        assert len(waits) == jobs, "every job started"
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        print(
            f"{jobs:>9,}{gpus:>9,}{spent_s:>9.1f}{jobs / spent_s:>9,.0f}{peak_gib:>7.2f}"
            f"{sum(waits) / jobs:>13.1f}",
            flush=True,
        )
    if most >= SIZES[-1][0]:
        print(
            f"{spent_s / BUDGET_S:.2f} of the budget of {BUDGET_S:.0f} s, "
            f"{peak_gib / BUDGET_GIB:.2f} of {BUDGET_GIB:.0f} GiB"
        )


if __name__ == "__main__":
    main()
