"""State goes through JSON and comes back the same."""

import json
import math
from enum import StrEnum

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.checkpoint.state import Json, from_json, to_json
from headrace.core.records import encode

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6).filter(lambda key: key != "$float"), inner)
    ),
    max_leaves=6,
)


@given(values)
def test_state_comes_back_the_same_through_strict_json(value: Json) -> None:
    text = json.dumps(to_json(value, "state"), allow_nan=False)
    assert from_json(json.loads(text)) == value


def test_nan_is_kept() -> None:
    back = from_json(json.loads(json.dumps(to_json([math.nan], "state"), allow_nan=False)))
    assert isinstance(back, list)
    assert isinstance(back[0], float)
    assert math.isnan(back[0])


class Word(StrEnum):
    FIRST = "first"


def test_text_of_a_type_of_its_own_is_kept_as_text() -> None:
    kept = to_json({np.str_("key"): [np.str_("value"), Word.FIRST]}, "state")
    assert encode(kept) == b'{"key":["value","first"]}'
