"""What BeeGFS's tools print, of releases 7 and 8."""

from headrace.cluster.storage.beegfs import parse_df, parse_entry, parse_settings
from headrace.cluster.storage.storage import Component

FILE_7 = """Entry type: file
EntryID: 2A-64F1C0DE-3
Metadata node: mds1 [ID: 3]
Stripe pattern details:
+ Type: RAID0
+ Chunksize: 512K
+ Number of storage targets: desired: 4; actual: 3
+ Storage targets:
  + 201 @ oss2 [ID: 12]
  + 101 @ oss1 [ID: 11]
  + 301 @ oss3 [ID: 13]
"""
FOLDER_7 = """Entry type: directory
EntryID: root
Metadata buddy group: 1
Current primary metadata node: mds1 [ID: 3]
Stripe pattern details:
+ Type: Buddy Mirror
+ Chunksize: 1M
+ Number of storage targets: desired: 2
+ Storage Pool: 2 (nvme)
"""
TABLE_8 = (
    "PATH         ENTRY ID      TYPE  META NODE  META MIRROR   STORAGE POOL              "
    "STRIPE PATTERN  STORAGE TARGETS  BUDDY GROUPS  \n"
    "/data/a.bin  7-6655AA11-1  file  m:1        (unmirrored)  storage_pool_default (1)  "
    "RAID0 (2x1M)    s:101,s:201      (unmirrored)  \n"
)
TABLE_8_FOLDER = (
    "PATH   ENTRY_ID      TYPE       META_NODE  STORAGE_POOL  STRIPE_PATTERN\n"
    "/data  3-6655AA11-1  directory  m:1        archive (2)   RAID0 (4x512KiB)\n"
)
DF = """METADATA SERVERS:
TargetID   Cap. Pool        Total         Free    %      ITotal       IFree    %
========   =========        =====         ====    =      ======       =====    =
       1      normal     931.3GiB     900.1GiB  97%      465.7M      460.0M  99%

STORAGE TARGETS:
TargetID   Cap. Pool        Total         Free    %      ITotal       IFree    %
========   =========        =====         ====    =      ======       =====    =
     101      normal   22351.1GiB   20000.0GiB  89%     2234.9M     2234.0M 100%
     201         low   22351.1GiB     500.0GiB   2%     2234.9M     2234.0M 100%
"""


def test_the_actual_count_of_a_file_counts_not_the_desired_one() -> None:
    found = parse_entry(FILE_7, "beegfs-ctl")
    assert found is not None
    assert found.components == (Component(count=3, size_bytes=512 << 10, targets=(201, 101, 301)),)
    assert (found.default, found.mirrors, found.tool) == (False, 1, "beegfs-ctl")


def test_a_folder_has_a_desired_count_a_pool_and_perhaps_mirrors() -> None:
    found = parse_entry(FOLDER_7, "beegfs-ctl")
    assert found is not None
    assert found.components == (
        Component(count=2, size_bytes=1 << 20, pattern="raid1", pool="nvme"),
    )
    assert (found.default, found.mirrors) == (True, 2)


def test_release_8_prints_a_table() -> None:
    found = parse_entry(TABLE_8, "beegfs")
    assert found is not None
    assert found.components == (
        Component(count=2, size_bytes=1 << 20, pool="storage_pool_default", targets=(101, 201)),
    )
    assert not found.default


def test_release_8_writes_names_of_columns_with_blanks_or_underscores() -> None:
    found = parse_entry(TABLE_8_FOLDER, "beegfs")
    assert found is not None
    assert found.components == (Component(count=4, size_bytes=512 << 10, pool="archive"),)
    assert found.default


def test_release_8_prints_the_old_form_when_asked() -> None:
    assert parse_entry(FILE_7, "beegfs") is not None


def test_what_is_no_entry_is_none() -> None:
    assert parse_entry("Error: Path is not in BeeGFS\n", "beegfs") is None


def test_df_parts_metadata_from_storage() -> None:
    found = parse_df(DF)
    assert [(one.kind, one.index, one.free_bytes) for one in found] == [
        ("mdt", 1, round(900.1 * 2**30)),
        ("ost", 101, round(20000.0 * 2**30)),
        ("ost", 201, round(500.0 * 2**30)),
    ]


def test_settings_of_the_client() -> None:
    text = "tuneUseGlobalFileLocks = false\n# a = b\nconnAuthFile=\n"
    assert parse_settings(text) == {"tuneUseGlobalFileLocks": "false", "connAuthFile": ""}
