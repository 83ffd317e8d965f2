"""What GPFS's tools print."""

from headrace.cluster.storage.gpfs import FileSystem, is_offline, parse_mmlsfs, parse_y

TEXT = """flag                value                    description
------------------- ------------------------ -----------------------------------
 -f                 8192                     Minimum fragment (subblock) size in bytes
 -i                 4096                     Inode size in bytes
 -B                 1048576                  Block size (system pool)
                    4194304                  Block size (other pools)
 -V                 27.00 (5.1.3.0)          Current file system version
                    22.00 (5.0.4.0)          Original file system version
"""
COLONS = """mmlsfs::HEADER:version:reserved:reserved:deviceName:fieldName:data:remarks:
mmlsfs::0:1:::mill:minFragmentSize:8192::
mmlsfs::0:1:::mill:blockSize:1048576:system pool:
mmlsfs::0:1:::mill:blockSize:4194304:other pools:
mmlsfs::0:1:::mill:filesystemVersion:27.00 (5.1.3.0)::
mmlsfs::0:1:::mill:defaultMountPoint:%2Fgpfs%2Fmill%3Aold::
"""
ATTRIBUTES = """file name:            /gpfs/mill/model.safetensors
metadata replication: 1 max 2
data replication:     1 max 2
immutable:            no
appendOnly:           no
flags:
storage pool name:    data
fileset name:         lab1
creation time:        Mon Oct  5 11:20:00 2026
"""


def test_mmlsfs_as_text() -> None:
    assert parse_mmlsfs(TEXT) == FileSystem(
        block_bytes=1 << 20, subblock_bytes=8192, version="27.00 (5.1.3.0)"
    )


def test_mmlsfs_with_colons_gives_the_largest_block_of_the_pools() -> None:
    assert parse_mmlsfs(COLONS) == FileSystem(
        block_bytes=4 << 20, subblock_bytes=8192, version="27.00 (5.1.3.0)"
    )


def test_fields_with_colons_in_them_are_percent_encoded() -> None:
    (*_, last) = parse_y(COLONS)
    assert (last["fieldName"], last["data"]) == ("defaultMountPoint", "/gpfs/mill:old")


def test_neither_form_is_empty() -> None:
    refused = "mmlsfs: This command may be run only by root.\n"
    assert parse_mmlsfs(refused) == FileSystem()


def test_offline_is_told_by_misc_attributes_and_the_line_may_be_missing() -> None:
    assert is_offline(ATTRIBUTES + "Misc attributes:      ARCHIVE OFFLINE\n")
    assert not is_offline(ATTRIBUTES + "Misc attributes:      ARCHIVE\n")
    assert not is_offline(ATTRIBUTES)
