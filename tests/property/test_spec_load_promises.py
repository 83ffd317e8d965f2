"""Whatever stands in a job file: it loads, or there is a HeadraceError. What loads survives."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.core.errors import HeadraceError
from headrace.spec.family import element_spec, expand
from headrace.spec.job import JobSpec
from headrace.spec.load import from_flags, load_file, load_text, make, read_submitted
from headrace.spec.origin import WRITTEN
from headrace.spec.sbatch_options import OPTIONS, SHORT
from headrace.spec.write import to_yaml

HERE = Path(tempfile.gettempdir())
KEYS = [WRITTEN.get(name, name) for name in JobSpec.model_fields]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["auto", "8-2", "H100:8", "1:30:00", "0-9%2", "10 steps", "4h", "400G", "~", "a=b", "a:b"]
    )
)
INNER_KEYS = st.sampled_from(
    ["every", "keep", "grace", "max", "on", "ok", "layout", "until", "sbatch", "source", "dp", "A"]
) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(INNER_KEYS, inner, max_size=4),
    max_leaves=12,
)


def loaded(load: Callable[[], JobSpec]) -> JobSpec | None:
    """What loads survives being written; what does not is refused in three lines. None: refused."""
    try:
        spec = load()
    except HeadraceError as error:
        refused = error
    else:
        assert read_submitted(to_yaml(spec)) == spec
        return spec
    assert refused.exit_status == 2
    assert [line[:7] for line in str(refused).split("\n")] == ["error H", "  why: ", "  fix: "]
    return None


@given(st.text())
@example("a: \ud800")
@example("run: [")
@example("run: &a\n  *a")
@example("%TAG ! tag:x,2000:\n---\n!a b")
def test_any_text_loads_or_is_refused(text: str) -> None:
    loaded(lambda: load_text(text, file="job.yaml", cwd=HERE))


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=6))
@example({"[key]": None})
@example({"env": {"[key]": []}})
def test_any_structure_loads_or_is_refused(written: dict[str, Any]) -> None:
    text = yaml.dump(written)
    loaded(lambda: load_text(text, file="job.yaml", cwd=HERE))


@given(st.sampled_from(KEYS), VALUES)
def test_any_value_of_any_field_loads_or_is_refused(key: str, value: object) -> None:
    text = yaml.dump({"run": "a", key: value})
    loaded(lambda: load_text(text, file="job.yaml", cwd=HERE))


@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b"\x00")
@example(b"#!/bin/bash\r\n")
def test_any_file_loads_or_is_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job"
        path.write_bytes(data)
        loaded(lambda: load_file(path, cwd=Path(folder)))


LINES = st.builds(
    "#SBATCH {}{}{}".format,
    st.sampled_from(["--" + name for name in OPTIONS] + ["-" + name for name in SHORT])
    | st.text(max_size=10),
    st.sampled_from(["", "=", " "]),
    st.sampled_from(["", "2", "8-2", "gpu:h100:8", "afterok:1", "USR1@60", "1:30", "'"])
    | st.text(max_size=10),
)


@given(st.lists(LINES | st.text(max_size=20), max_size=8))
def test_any_batch_script_loads_or_is_refused(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.sh"
        text = "\n".join(["#!/bin/bash", *lines])
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        loaded(lambda: load_file(path, cwd=Path(folder)))


@given(
    st.lists(st.text(max_size=8), max_size=3),
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=4),
)
def test_any_flags_load_or_are_refused(command: list[str], flags: dict[str, object]) -> None:
    loaded(lambda: from_flags(command, overrides=flags, cwd=HERE))


@given(st.dictionaries(st.sampled_from(list(JobSpec.model_fields)), VALUES, max_size=4))
def test_any_python_values_make_a_spec_or_are_refused(fields: dict[str, Any]) -> None:
    loaded(lambda: make(**{"run": "a", **fields}))


PASSABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.text(PASSABLE, min_size=1, max_size=12)
SHELL = st.text(PASSABLE, min_size=1, max_size=40).filter(str.strip)
VARIABLES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
COUNTS = st.integers(1, 10**6)


@st.composite
def good_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a right description, in the forms of Python."""
    low = draw(st.integers(1, 64))
    optional = {
        "nodes": st.just(f"{low}-{low + draw(st.integers(0, 9))}"),
        "gpus_per_node": st.sampled_from([0, 8, "H100:8", "h100.80gb:4"]),
        "memory_bytes": COUNTS,
        "time_s": COUNTS,
        "ranks_per_node": COUNTS,
        "priority": st.integers(-100, 100),
        "env": st.dictionaries(VARIABLES, st.text(PASSABLE, max_size=20), max_size=3),
        "secrets": st.lists(VARIABLES, max_size=3),
        "setup": SHELL,
        "checkpoint": st.fixed_dictionaries(
            {}, optional={"every": st.sampled_from(["10m", "auto", "500 steps"]), "keep": COUNTS}
        ),
        "restart": st.fixed_dictionaries(
            {}, optional={"max": st.integers(0, 99), "on": st.just(["oom", "hang"])}
        ),
        "train": st.fixed_dictionaries(
            {},
            optional={
                "until": st.builds("{} epochs".format, st.integers(1, 99) | st.just(0.5))
                | st.builds("{} tokens".format, COUNTS),
                "layout": st.just({"dp": 2, "recompute": "full"}),
                "global_batch": COUNTS,
            },
        ),
        "after": st.just({"ok": ["r-1", "r-2"], "singleton": True}),
        "notes": st.lists(st.text(PASSABLE, max_size=10), max_size=2),
        "data": st.just(["/lustre/a", {"source": "b", "stage": "nvme"}]),
    }
    family = st.one_of(
        st.just({}),
        st.builds(lambda v: {"sweep": {"lr": v}}, st.lists(WORDS, min_size=1, max_size=4)),
        st.builds(lambda n: {"array": f"0-{n}%2"}, st.integers(0, 99)),
    )
    program = st.builds(lambda text: {"run": text}, SHELL) | st.builds(
        lambda words: {"command": ["python", *words]},
        st.lists(st.text(PASSABLE, max_size=9), max_size=3),
    )
    fields: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=optional))
    return {**fields, **draw(family), **draw(program)}


@given(good_fields())
def test_what_is_written_loads_back_equal(fields: dict[str, Any]) -> None:
    spec = JobSpec(**fields)
    again = read_submitted(to_yaml(spec))
    assert again == spec
    assert again.restart_given == spec.restart_given
    assert again.session() == spec.session()


@given(
    st.dictionaries(
        VARIABLES.map(str.lower), st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=4
    )
)
def test_a_sweep_expands_to_every_combination_once(sweep: dict[str, list[str]]) -> None:
    spec = make(run="a", sweep=sweep)
    elements = expand(spec)
    assert len(elements) == math.prod(len(values) for values in sweep.values())
    assert [element.index for element in elements] == list(range(len(elements)))
    for element in elements:
        assert all(element.values[name] in values for name, values in spec.sweep.items())
        assert element_spec(spec, element).sweep == {}
