"""Real ranks on a mix of packed documents: resized, with another batch and other weights."""

import json
from pathlib import Path

import numpy as np
from tests.integration.ranks import finish
from tests.integration.test_train_ranks import start

from headrace import data
from headrace.data.recorded import drawn_in, recorded

PROGRAM = Path(__file__).with_name("data_program.py")


def test_ranks_see_what_the_record_says_through_a_resize_and_changes(tmp_path: Path) -> None:
    for name, first in (("books", 1000), ("code", 2000)):
        lines = [
            json.dumps({"ids": list(range(first + 20 * n, first + 20 * n + 3 + 5 * n % 17))})
            for n in range(20)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        data.index_path(tmp_path / f"{name}.jsonl")
    run_dir = tmp_path / "run"
    said = []
    attempts: list[tuple[int, int, object, object]] = [
        (3, 4, 2, {"books": 1, "code": 1}),  # a rank without a share gets a stand-in
        (2, 8, {"0": 5, "6": 3}, {"books": 1, "code": 3}),
    ]
    for world, steps, batch, weights in attempts:
        argv = [tmp_path, *map(json.dumps, (steps, batch, weights))]
        said.append(finish(start(argv, world=world, run_dir=run_dir, program=PROGRAM)))
    state, parts = recorded(run_dir / "data.json")
    packs = {
        name: data.in_packs(data.open(tmp_path / f"{name}.jsonl"), window=8, field="ids")
        for name in ("books", "code")
    }
    for step in range(1, 9):
        ranks = said[0] if step <= 4 else said[1]
        seen = [row for rank in ranks for row in rank["seen"].get(str(step), [])]
        written = [
            int(packs[one.part.name].read(np.array([one.sample]))[0, 0, 0])
            for one in drawn_in(state, parts, step - 1)
        ]
        assert seen == written
        assert len(seen) == (2 if step <= 4 else 5 if step <= 6 else 3)
