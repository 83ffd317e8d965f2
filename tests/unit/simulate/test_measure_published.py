"""Measures of replays whose figures other simulators published."""

import pytest
from tests.shared import shared

from headrace.simulate.comparison import Scenario, compare
from headrace.simulate.read import read_trace


def test_batsims_own_summary_of_its_easy_and_conservative_schedules() -> None:
    """Mean and longest wait and the makespan, out_schedule.csv."""
    trace = read_trace(shared("traces", "batsim_oracle", "medium_late.tar.xz"))
    found = compare(trace, Scenario(policies=("easy", "conservative")))[0]
    easy, conservative = found["easy"].wait_s, found["conservative"].wait_s
    assert easy is not None
    assert easy.mean == pytest.approx(9.516326, abs=1e-6)
    assert easy.max == pytest.approx(316.742718, abs=1e-6)
    assert found["easy"].makespan_s == pytest.approx(16_088.51, abs=30)
    assert conservative is not None
    assert conservative.mean == pytest.approx(9.852251, rel=2e-3)


def test_a_pool_of_processors_is_not_how_hpc2n_was_scheduled_and_the_check_says_so() -> None:
    trace = read_trace(shared("traces", "swf", "hpc2n_seth_3188.swf.xz"))
    found = compare(trace, Scenario(policies=("easy",)))[0]
    assert found.fidelity is not None
    assert (found.fidelity.verdict, found.fidelity.jobs) == ("off", 3170)
    assert found["history"].wait_s is not None
    assert found["history"].wait_s.mean > 4 * 3600
