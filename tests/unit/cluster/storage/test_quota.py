"""What quota tools print."""

import pytest

from headrace.cluster.storage.quota import parse_mmlsquota, parse_table
from headrace.cluster.storage.storage import Quota

HEAD = "Disk quotas for usr ada (uid 1815):\n     Filesystem"
TIB = 1 << 30  # in KiB


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}  kbytes   quota   limit   grace   files   quota   limit   grace\n"
        f"          /mill 2048   {TIB}   {2 * TIB}       -   120   0   1000   -\n",
        f"{HEAD}    used   quota   limit   grace   files   quota   limit   grace\n"
        "          /mill      2M      1T      2T       -     120       0    1000       -\n"
        "uid 1815 is using default block quota setting\n",
        f"{HEAD}  kbytes   quota   limit   grace   files   quota   limit   grace\n"
        f"/mill/with/a/long/name\n       2048*  {TIB}  {2 * TIB}  6d23h   120   0   1000   -\n",
        f"{HEAD}  kbytes   quota   limit   grace   files   quota   limit   grace\n"
        f"          /mill [2048]   {TIB}   {2 * TIB}       -   [120]   0   1000   -\n",
        "Disk quotas for user ada (uid 1815): \n"
        "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
        f"fs:/export   2048  {TIB}  {2 * TIB}       0     120       0    1000       0\n",
    ],
    ids=["lustre", "readable", "wrapped and over", "out of date", "quota(1)"],
)
def test_tables_of_all_kinds_say_the_same(text: str) -> None:
    assert parse_table(text) == Quota(
        used_bytes=2 << 20, soft_bytes=1 << 40, hard_bytes=2 << 40, files=120, files_hard=1000
    )


def test_limits_of_zero_are_none() -> None:
    text = f"{HEAD} kbytes quota limit grace files quota limit grace\n /mill 4 0 0 - 1 0 0 -\n"
    assert parse_table(text) == Quota(used_bytes=4096, files=1)


def test_no_quota_is_none() -> None:
    assert parse_table("Disk quotas for user ada (uid 1815): none\n") is None


def test_mmlsquota_gives_the_row_of_the_user() -> None:
    text = (
        "mmlsquota::HEADER:version:reserved:reserved:filesystemName:quotaType:id:name:blockUsage:"
        "blockQuota:blockLimit:blockInDoubt:blockGrace:filesUsage:filesQuota:filesLimit:\n"
        "mmlsquota::0:1:::mill:GRP:500:lab:9:9:9:0:none:9:9:9:\n"
        "mmlsquota::0:1:::mill:USR:1815:ada:2048:0:4096:0:none:12:0:500:\n"
    )
    assert parse_mmlsquota(text, 1815) == Quota(
        used_bytes=2 << 20, hard_bytes=4 << 20, files=12, files_hard=500
    )
    assert parse_mmlsquota(text, 7) is None
