"""What admission to the node cache promises, for every cache and source that can be drawn."""

from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.data.cache.admission import Kept, Wanted, admit, taken_bytes, window

SIZES = st.integers(0, 100_000)


@st.composite
def caches(draw: st.DrawFn) -> list[Kept]:
    count = draw(st.integers(0, 6))
    return [
        Kept(
            key=f"set-{number}",
            source=draw(st.sampled_from(["/a", "/b", "/c"])),
            size_bytes=4096 * draw(st.integers(0, 40)),
            used_s=draw(st.floats(0, 1e9)),
            in_use=draw(st.booleans()),
        )
        for number in range(count)
    ]


def files(most: int = 12) -> st.SearchStrategy[list[Wanted]]:
    sizes = st.lists(SIZES, max_size=most)
    return sizes.map(lambda found: [Wanted(f"f{n}", size) for n, size in enumerate(found)])


KEYS = st.sampled_from(["set-0", "set-3", "new"])
LIMITS = st.integers(0, 2_000_000)


@given(files(), caches(), KEYS, LIMITS, st.booleans())
def test_the_limit_is_never_exceeded_by_what_is_admitted(
    missing: list[Wanted], kept: list[Kept], key: str, limit: int, in_parts: bool
) -> None:
    got = admit(missing, kept, key=key, source="/a", limit_bytes=limit, in_parts=in_parts)
    before = sum(one.size_bytes for one in kept)
    left = sum(one.size_bytes for one in kept if one.key not in got.evict)
    after = left + taken_bytes(got.copy)
    assert after <= max(limit, before)
    if got.copy and taken_bytes(got.copy):
        assert after <= limit


@given(files(), caches(), KEYS, LIMITS, st.booleans())
def test_what_is_in_use_or_asked_for_is_never_let_go(
    missing: list[Wanted], kept: list[Kept], key: str, limit: int, in_parts: bool
) -> None:
    got = admit(missing, kept, key=key, source="/a", limit_bytes=limit, in_parts=in_parts)
    protected = {one.key for one in kept if one.in_use} | {key}
    assert not protected & set(got.evict)
    assert set(got.evict) <= {one.key for one in kept}


@given(files(), caches(), KEYS, LIMITS, st.booleans())
def test_nothing_is_let_go_without_need_and_nothing_at_all_for_what_does_not_fit(
    missing: list[Wanted], kept: list[Kept], key: str, limit: int, in_parts: bool
) -> None:
    got = admit(missing, kept, key=key, source="/a", limit_bytes=limit, in_parts=in_parts)
    if not got.copy:
        assert not got.whole or not missing
    if got.evict:
        assert got.copy or not missing
        last = next(one for one in kept if one.key == got.evict[-1])
        left = sum(one.size_bytes for one in kept if one.key not in got.evict)
        needed = taken_bytes(missing)
        assert left + last.size_bytes + needed > limit, "the last one let go was not needed"


@given(files(), caches(), KEYS, LIMITS, st.booleans())
def test_old_states_of_the_source_go_first_then_the_least_recently_used(
    missing: list[Wanted], kept: list[Kept], key: str, limit: int, in_parts: bool
) -> None:
    got = admit(missing, kept, key=key, source="/a", limit_bytes=limit, in_parts=in_parts)
    idle = [one for one in kept if not one.in_use and one.key != key]
    order = sorted(idle, key=lambda one: (one.source != "/a", one.used_s, one.key))
    assert list(got.evict) == [one.key for one in order][: len(got.evict)]


@given(files(), caches(), KEYS, LIMITS)
def test_all_or_nothing_where_a_part_is_of_no_use(
    missing: list[Wanted], kept: list[Kept], key: str, limit: int
) -> None:
    got = admit(missing, kept, key=key, source="/a", limit_bytes=limit, in_parts=False)
    assert (list(got.copy), got.whole) in ((missing, True), ([], False))


@given(files(), st.data(), st.integers(0, 600_000))
def test_a_window_holds_what_comes_next_within_its_room(
    order: list[Wanted], data: st.DataObject, room: int
) -> None:
    assume(order)
    chosen = data.draw(st.sets(st.sampled_from(order)))
    held = sorted(chosen)
    coming = data.draw(st.permutations(order))[data.draw(st.integers(0, len(order) - 1)) :]
    got = window(coming, held, room_bytes=room)
    after = {*held, *got.copy} - {file for file in held if file.name in got.drop}
    near: list[Wanted] = []
    for file in coming:
        if taken_bytes([*near, file]) > room:
            break
        near.append(file)
    assert taken_bytes(after) <= room
    assert set(near) <= after, "what comes next is there, as much as fits"
    assert [file for file in near if file not in held] == list(got.copy), "the next one first"
    if got.drop:
        last = next(file for file in held if file.name == got.drop[-1])
        assert taken_bytes([*after, last]) > room, "nothing is dropped without need"
