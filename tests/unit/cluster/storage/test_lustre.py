"""What lfs and lctl print, of old and new releases."""

import re

from tests.shared import shared

from headrace.cluster.storage.lustre import (
    parse_df,
    parse_df_inodes,
    parse_getstripe,
    parse_pools,
    parse_rpcs,
    parse_version,
)
from headrace.cluster.storage.storage import Component, Target

PLAIN = """corpus.tokens
lmm_stripe_count:  2
lmm_stripe_size:   4194304
lmm_pattern:       raid0
lmm_layout_gen:    0
lmm_stripe_offset: 9
lmm_pool:          flash
\tobdidx\t\t objid\t\t objid\t\t group
\t     9\t      31415926\t    0x1df5e76\t   0x280000400
\t     4\t      27182818\t    0x19ec6e2\t   0x2c0000400

"""
OLD = """./corpus.tokens
lmm_stripe_count:   1
lmm_stripe_size:    1048576
lmm_pattern:        1
lmm_layout_gen:     0
lmm_stripe_offset:  7
\tobdidx\t\t objid\t\t objid\t\t group
\t     7\t         16180\t       0x3f34\t             0
"""
COMPOSITE = """/scratch/ada/corpus.tokens
  lcm_layout_gen:    3
  lcm_mirror_count:  1
  lcm_entry_count:   3
    lcme_id:             1
    lcme_mirror_id:      0
    lcme_flags:          init
    lcme_extent.e_start: 0
    lcme_extent.e_end:   65536
      lmm_stripe_count:  0
      lmm_stripe_size:   65536
      lmm_pattern:       mdt
      lmm_layout_gen:    0
      lmm_stripe_offset: 0

    lcme_id:             2
    lcme_mirror_id:      0
    lcme_flags:          init
    lcme_extent.e_start: 65536
    lcme_extent.e_end:   67108864
      lmm_stripe_count:  2
      lmm_stripe_size:   1048576
      lmm_pattern:       raid0
      lmm_layout_gen:    0
      lmm_stripe_offset: 3
      lmm_objects:
      - 0: { l_ost_idx: 3, l_fid: [0x100030000:0x2:0x0] }
      - 1: { l_ost_idx: 5, l_fid: [0x100050000:0x2:0x0] }

    lcme_id:             3
    lcme_mirror_id:      0
    lcme_flags:          0
    lcme_extent.e_start: 67108864
    lcme_extent.e_end:   EOF
      lmm_stripe_count:  -1
      lmm_stripe_size:   4194304
      lmm_pattern:       raid0,overstriped
      lmm_stripe_offset: -1
"""
COMPOSITE_DEFAULT = """/scratch/ada
  lcm_layout_gen:    0
  lcm_mirror_count:  2
  lcm_entry_count:   2
    lcme_id:             N/A
    lcme_mirror_id:      N/A
    lcme_flags:          0
    lcme_extent.e_start: 0
    lcme_extent.e_end:   67108864
      stripe_count:  1       stripe_size:   1048576       pattern:       raid0

    lcme_id:             N/A
    lcme_mirror_id:      N/A
    lcme_flags:          0
    lcme_extent.e_start: 67108864
    lcme_extent.e_end:   EOF
      stripe_count:  16      stripe_size:   4194304       pattern:       raid0     pool:  hdd
"""
DF = """UUID                   1K-blocks        Used   Available Use% Mounted on
mill-MDT0000_UUID       50331648      524288    46137344   2% /mill[MDT:0]
mill-OST0000_UUID     1073741824   966367642    53687091  95% /mill[OST:0]
OST0001             : inactive device
mill-OST0002_UUID   : Resource temporarily unavailable
mill-OST000a_UUID     1073741824   107374182   912680550  11% /mill[OST:10] f

filesystem_summary:   2147483648  1073741824   966367641  53% /mill
"""
DF_HUMAN = """UUID                       bytes        Used   Available Use% Mounted on
mill-MDT0000_UUID           1.5T        4.8G        1.5T   1% /mill[MDT:0]
mill-OST0000_UUID          98.5T       33.1T       60.4T  36% /mill[OST:0]

filesystem_summary:        98.5T       33.1T       60.4T  36% /mill
"""
DF_INODES = """UUID                      Inodes       IUsed       IFree IUse% Mounted on
mill-MDT0000_UUID       33554432    31457280     2097152  94% /mill[MDT:0]
mill-OST0000_UUID        6000000      100000     5900000   2% /mill[OST:0]

filesystem_summary:     33554432    31457280     2097152  94% /mill
"""


def test_a_plain_file_has_one_part_with_its_pool_and_targets() -> None:
    found = parse_getstripe(PLAIN)
    assert found is not None
    assert found.components == (
        Component(count=2, size_bytes=4 << 20, pool="flash", targets=(9, 4)),
    )
    assert found.tool == "lfs"


def test_an_old_client_writes_the_pattern_as_a_number() -> None:
    found = parse_getstripe(OLD)
    assert found is not None
    assert found.components == (Component(count=1, size_bytes=1 << 20, targets=(7,)),)


def test_a_default_stands_on_one_line() -> None:
    line = "stripe_count:  4 stripe_size:   1048576 pattern:       0 stripe_offset: -1\n"
    older = "/mill\nstripe_count:   4 stripe_size:    1048576 stripe_offset:  -1 \n"
    for text in (line, older):
        found = parse_getstripe(text, default=True)
        assert found is not None
        assert found.default
        assert found.components == (Component(count=4, size_bytes=1 << 20),)


def test_a_composite_file_has_all_its_parts_the_first_on_the_metadata_server() -> None:
    found = parse_getstripe(COMPOSITE)
    assert found is not None
    assert found.components == (
        Component(end_bytes=65536, count=0, size_bytes=65536, pattern="mdt"),
        Component(
            start_bytes=65536, end_bytes=64 << 20, count=2, size_bytes=1 << 20, targets=(3, 5)
        ),
        Component(start_bytes=64 << 20, count=-1, size_bytes=4 << 20, pattern="raid0,overstriped"),
    )
    assert found.widest.count == -1


def test_a_composite_default_has_ids_that_are_no_numbers_and_counts_mirrors() -> None:
    found = parse_getstripe(COMPOSITE_DEFAULT, default=True)
    assert found is not None
    assert [(part.end_bytes, part.count, part.pool) for part in found.components] == [
        (64 << 20, 1, None),
        (None, 16, "hdd"),
    ]
    assert found.mirrors == 2


def test_of_several_entries_the_first_counts() -> None:
    assert parse_getstripe(PLAIN + OLD) == parse_getstripe(PLAIN)
    assert parse_getstripe(COMPOSITE + "\n" + COMPOSITE) == parse_getstripe(COMPOSITE)


def test_what_is_no_layout_is_none() -> None:
    refusal = "lfs getstripe: cannot get lov name: Inappropriate ioctl for device (25)\n"
    assert parse_getstripe(refusal) is None
    assert parse_getstripe("") is None


def test_df_in_kib_names_targets_that_are_out() -> None:
    assert parse_df(DF) == (
        Target(
            name="mill-MDT0000",
            kind="mdt",
            index=0,
            size_bytes=50331648 << 10,
            free_bytes=46137344 << 10,
        ),
        Target(
            name="mill-OST0000",
            kind="ost",
            index=0,
            size_bytes=1073741824 << 10,
            free_bytes=53687091 << 10,
        ),
        Target(name="OST0001", kind="ost", index=1, active=False),
        Target(name="mill-OST0002", kind="ost", index=2, active=False),
        Target(
            name="mill-OST000a",
            kind="ost",
            index=10,
            size_bytes=1073741824 << 10,
            free_bytes=912680550 << 10,
        ),
    )


def test_df_for_people_gives_about_the_same() -> None:
    found = parse_df(DF_HUMAN)
    assert [(one.index, one.size_bytes) for one in found] == [
        (0, round(1.5 * 2**40)),
        (0, round(98.5 * 2**40)),
    ]


def test_df_of_inodes_is_by_target() -> None:
    assert parse_df_inodes(DF_INODES) == {
        ("mdt", 0): (33554432, 2097152),
        ("ost", 0): (6000000, 5900000),
    }


def test_a_recorded_client_has_eight_requests_in_flight_at_a_target() -> None:
    recorded = shared("samples", "lustre_client_stats.txt").read_text()
    files = re.split(r"^#### FILE ", recorded, flags=re.MULTILINE)
    (text,) = (file for file in files if file.startswith("/proc") and "/max_rpcs_in_" in file)
    assert parse_rpcs(text) == 8


def test_pools_requests_in_flight_and_version() -> None:
    assert parse_pools("Pools from mill:\nmill.flash\nmill.hdd\n") == ("flash", "hdd")
    assert parse_pools("Pools from mill:\n") == ()
    assert parse_rpcs("8\n16\n8\n") == 8
    assert parse_rpcs("error: get_param: no such file\n") is None
    assert parse_version("lfs 2.15.3_ddn12\n") == "2.15.3"
    assert parse_version("?") is None
