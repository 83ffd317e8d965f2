"""Policies side by side: the check, the table, the page, the picture."""

import json

import pytest
from tests.replays import cluster, job, trace

from headrace.core.records import encode
from headrace.schedule.policies import PolicyUnknown
from headrace.simulate.comparison import CAVEAT, Comparison, Scenario, compare
from headrace.simulate.failures import parse_failures
from headrace.simulate.page import page
from headrace.simulate.picture import draw
from headrace.simulate.replay import NoCluster
from headrace.simulate.rows import by, curve_rows, enough, heads, summary
from headrace.simulate.trace import Trace

DAY_S = 86_400.0


def busy(*, history: bool = False) -> Trace:
    """Ten days; each an hour-long job on both nodes, then long ones, then short ones."""
    jobs = []
    for day in range(10):
        at = day * DAY_S
        shapes = [(2, 4, 3600), *[(1, 4, 7200)] * 4, *[(1, 1, 60)] * 8]
        for number, (nodes, gpus, run_s) in enumerate(shapes):
            jobs.append(
                job(
                    f"{day}.{number}",
                    at + number,
                    run_s,
                    nodes=nodes,
                    gpus=gpus,
                    user=("ada", "bob", "<eve>")[number % 3],
                    limit_s=run_s * 2.0,
                    history=at + number + 600 if history else None,
                )
            )
    return trace(*jobs, name="<busy> & co", where=cluster())


@pytest.fixture(scope="module")
def compared() -> Comparison:
    scenario = Scenario(policies=("fifo", "sjf", "easy"), added=(0, 2), seed=3)
    return compare(busy(history=True), scenario)[0]


def test_history_stands_first_where_there_is_one_and_the_check_says_how_like_it_is(
    compared: Comparison,
) -> None:
    assert heads(compared) == ("history", "fifo", "sjf", "easy")
    assert compared.fidelity is not None
    assert (compared.fidelity.policy, compared.fidelity.verdict) == ("easy", "off")
    assert compared["history"].wait_s is not None
    assert compared["history"].wait_s.mean == 600


def test_shortest_first_waits_less_on_average(compared: Comparison) -> None:
    fifo, sjf = compared["fifo"].wait_s, compared["sjf"].wait_s
    assert fifo is not None
    assert sjf is not None
    assert sjf.mean < fifo.mean
    with pytest.raises(KeyError):
        compared["lottery"]


def test_the_best_of_each_row_is_marked_but_never_history(compared: Comparison) -> None:
    rows = {row.label: row for row in summary(compared)}
    mean = rows["wait, mean"]
    assert mean.best == {2}
    assert mean.cells[0] == "10 min"
    assert rows["GPU hours"].best == frozenset()
    assert all(0 not in row.best for row in rows.values())
    assert "preemptions" not in rows


def test_users_who_are_worse_off_are_counted_against_the_first_policy(
    compared: Comparison,
) -> None:
    assert set(compared.worse_off) == {"sjf", "easy"}
    assert compared.users == 3
    row = next(row for row in summary(compared) if row.label == "users worse off by > 10 %")
    assert row.cells[:2] == ("-", "-")


def test_waits_have_intervals_from_resampled_days(compared: Comparison) -> None:
    assert [(one.policy, one.block, one.blocks) for one in compared.certainties] == [
        ("fifo", "day", 10),
        ("sjf", "day", 10),
        ("easy", "day", 10),
    ]
    fifo = compared.certainties[0]
    mean = compared["fifo"].wait_s
    assert mean is not None
    assert fifo.mean_s.low <= mean.mean <= fifo.mean_s.high
    assert fifo.mean_ratio is None
    assert compared.certainties[1].mean_ratio is not None
    assert compared.certainties[1].mean_ratio.high < 1


def test_more_nodes_wait_less(compared: Comparison) -> None:
    rows = curve_rows(compared)
    assert [row.label for row in rows] == ["+0 (2 nodes)", "+2 (4 nodes)"]
    for one in compared.curves:
        first, last = one.points[0].wait_s, one.points[-1].wait_s
        assert first is not None
        assert last is not None
        assert last.p90 < first.p90
    assert (
        enough(compared, 1e9)[0] == "fifo: +0 nodes (2 in all) keep 9 of 10 waits under 11574 d 1 h"
    )
    assert enough(compared, 0.5)[0] == "fifo: up to +2 nodes, 9 of 10 jobs wait beyond 0.50 s"


def test_a_comparison_is_versioned_json(compared: Comparison) -> None:
    read = json.loads(encode(compared))
    assert read["schema"] == 1
    assert [one["policy"] for one in read["measures"]] == ["history", "fifo", "sjf", "easy"]
    assert json.loads(json.dumps(compared.to_dict())) == read


def test_the_page_stands_alone_and_escapes_what_users_named(compared: Comparison) -> None:
    text = page(compared, draw(compared))
    assert "&lt;busy&gt; &amp; co" in text
    assert "&lt;eve&gt;" in text
    assert "<eve>" not in text
    assert text.count("data:image/png;base64,") == 1
    assert "http" not in text.replace("http-equiv", "")
    assert "No conclusion about the real cluster" in text
    assert "<table>" in compared._repr_html_()


def test_the_picture_is_a_png_with_and_without_a_curve(compared: Comparison) -> None:
    assert draw(compared).startswith(b"\x89PNG")
    alone = compare(trace(job("a", 0, 10), where=cluster()), Scenario(policies=("fifo",)))[0]
    assert draw(alone).startswith(b"\x89PNG")
    assert alone.fidelity is not None
    assert alone.fidelity.verdict == "unknown"


def test_all_policies_meet_the_same_failures_and_a_seed_repeats_them() -> None:
    model = parse_failures("rate=2000,repair=2h,checkpoint=10m,restart=1m")
    scenario = Scenario(policies=("fifo", "easy"), failures=model, seed=5)
    first, again = (compare(busy(), scenario)[0] for _ in range(2))
    assert encode(first) == encode(again)
    for one in first.measures:
        assert one.node_failures > 0
        assert one.use.lost_h > 0
        assert one.use.available_h < 8 * one.makespan_s / 3600
    calm = compare(busy(), Scenario(policies=("fifo",)))[0]
    assert calm["fifo"].use.useful_h == pytest.approx(first["fifo"].use.useful_h)


def test_progress_names_what_is_replayed_and_reaches_the_end() -> None:
    told: list[tuple[str, float]] = []
    scenario = Scenario(policies=("fifo", "easy"), nodes="+1", allocations=True)
    _, replays = compare(busy(), scenario, progress=lambda text, share: told.append((text, share)))
    assert {text for text, _ in told} == {"fifo", "easy"}
    assert all(0 <= share <= 1 for _, share in told)
    assert replays[0].allocated is not None
    assert replays[0].allocated[0] == "0-1"


def test_group_tables_show_every_size_and_the_largest_users(compared: Comparison) -> None:
    assert [row.label for row in by(compared, "size")] == [
        "1 GPU (80)",
        "3-4 GPUs (40)",
        "5-8 GPUs (10)",
    ]
    assert by(compared, "user")[0].label.startswith("ada (")
    assert by(compared, "partition") == []
    assert compared.notes[-1] == CAVEAT


def test_no_nodes_and_no_such_policy_are_said_before_anything_is_replayed() -> None:
    with pytest.raises(NoCluster):
        compare(trace(job("a", 0, 10)), Scenario(policies=("fifo",)))
    with pytest.raises(PolicyUnknown):
        compare(busy(), Scenario(policies=("fifo", "lottery")))
