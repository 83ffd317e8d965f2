from headrace.launch.gap import Gap


def test_only_a_gap_that_no_turning_loop_has_counts_and_it_counts_once() -> None:
    gap = Gap(100.0)
    assert gap.since_s(102.0) == 0.0
    assert gap.since_s(136.0) == 34.0
    assert gap.since_s(136.1) == 0.0
