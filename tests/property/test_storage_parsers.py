"""Parsers of storage tools: whatever a tool prints, the answer is a record or nothing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cluster.nodes.mounts import mount_of, parse_mounts
from headrace.cluster.storage import beegfs, ceph, gluster, gpfs, lustre, quota, sizes
from headrace.cluster.storage.kinds import kind_of
from headrace.cluster.storage.layouts import Purpose, Use, propose
from headrace.cluster.storage.storage import Storage, Target

PARSERS: dict[str, Callable[[str], object]] = {
    "getstripe": lustre.parse_getstripe,
    "lfs df": lustre.parse_df,
    "lfs df -i": lustre.parse_df_inodes,
    "pools": lustre.parse_pools,
    "rpcs": lustre.parse_rpcs,
    "version": lustre.parse_version,
    "entry": lambda text: beegfs.parse_entry(text, "beegfs"),
    "beegfs-df": beegfs.parse_df,
    "settings": beegfs.parse_settings,
    "mmlsfs": gpfs.parse_mmlsfs,
    "mmlsattr": gpfs.is_offline,
    "volfile": lambda text: gluster.parse_volfile(text, text, {}),
    "connected": gluster.parse_connected,
    "quota": quota.parse_table,
    "mmlsquota": lambda text: quota.parse_mmlsquota(text, 0),
    "ceph": lambda text: ceph.parse_layout(text, default=True),
    "size": sizes.parse_size,
    "number": sizes.parse_number,
    "mounts": lambda text: mount_of(text, parse_mounts(text)),
    "kind": lambda text: kind_of(text, len(text) - 5),
}
PRINTED = """UUID 1K-blocks bytes mill-OST0000_UUID 100 1.5T -1 EOF N/A 45% /m[OST:1] /m[MDT:x] :
    lmm_stripe_count: lmm_stripe_size: lmm_pattern: stripe_count: stripe_size: pool: raid0 mdt 1 -
    lcm_layout_gen: lcm_mirror_count: lcme_id: lcme_extent.e_start: lcme_extent.e_end: l_ost_idx:
    lmm_objects: 0x1f obdidx + Type: Chunksize: 512K Number of storage targets: desired: 4; actual:
    RAID0 (4x1M) STRIPE PATTERN PATH 101 @ METADATA STORAGE GiB mmlsfs HEADER :: fieldName data -B
    mmlsquota quotaType USR 0 blockUsage volume end-volume type protocol/client cluster/replicate
    subvolumes option remote-host Filesystem kbytes quota limit grace files * [1] stripe_unit=4
    stripe_count=1 connected = inactive ² ١ ९"""
WORDS = st.sampled_from(PRINTED.split())
BETWEEN = st.sampled_from([" ", "  ", "   ", "\t", "\n", "\n\n", ":", "\n    "])
TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(st.tuples(WORDS, BETWEEN), max_size=60).map(
        lambda pairs: "".join(word + between for word, between in pairs)
    ),
)


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
@given(text=TEXT)
def test_no_text_makes_a_parser_fail(parser: Callable[[str], object], text: str) -> None:
    parser(text)


@given(
    targets=st.integers(0, 2000),
    ranks=st.integers(1, 100_000),
    size_bytes=st.one_of(st.none(), st.integers(1, 1 << 50)),
    purpose=st.sampled_from(Purpose),
    version=st.sampled_from([None, "2.5.42", "2.10.8", "2.15", "x.y"]),
)
def test_a_layout_has_a_target_at_least_and_never_more_than_there_are(
    targets: int, ranks: int, size_bytes: int | None, purpose: Purpose, version: str | None
) -> None:
    storage = Storage(
        path="/m",
        looked_at="/m",
        kind="lustre",
        fstype="lustre",
        source="s:/m",
        mount="/m",
        network=True,
        version=version,
        targets=tuple(Target(name=str(n), kind="ost", index=n) for n in range(targets)),
    )
    found = propose(storage, Use(purpose=purpose, file_bytes=size_bytes, ranks=ranks))
    assert (found is None) == (targets == 0)
    if found is not None:
        parts = found.layout.components
        assert all(1 <= part.count <= targets for part in parts if part.pattern != "mdt")
        assert all(part.size_bytes % (64 << 10) == 0 for part in parts)
        ends = [part.end_bytes for part in parts]
        assert ends[-1] is None
        assert [part.start_bytes for part in parts[1:]] == ends[:-1]
