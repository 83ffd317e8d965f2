"""The site file: what it may say, and what it says about mistakes."""

import os
import re
from pathlib import Path

import pytest

from headrace.engines.local.site import Site, SiteFile, parse_site
from headrace.engines.local.table import SiteInvalid
from headrace.schedule.cluster import Account, Limits, Tres

PATH = Path("site.toml")
DOCS = Path(__file__).parents[4] / "docs" / "reference" / "site-file.md"


def test_the_example_of_the_docs_becomes_accounts_rules_and_times() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    site = parse_site(example, PATH)
    assert (site.policy, site.admins) == ("easy-fairshare", "headrace-admins")
    assert site.memory_bytes == 400 << 30
    assert site.idle_gpu.cancel_after_s == 45 * 60
    assert site.weights.half_life_s == 7 * 86_400
    assert site.accounts == (
        Account(name="physics", shares=2),
        Account(name="plasma", parent="physics"),
        Account(name="plasma", user="ada"),
        Account(name="plasma", user="bob"),
        Account(
            name="biology",
            qos=("normal", "urgent"),
            limits=Limits(grp_tres=Tres(gpu=4.0), max_wall_s=172_800.0),
        ),
        Account(name="biology", user="cleo", shares=3, limits=Limits(max_jobs=2)),
    )
    assert [qos.name for qos in site.qos] == ["normal", "urgent"]
    assert site.partitions[0].default_time_s == 3600
    (course,) = site.reservations
    assert course.end_s - course.start_s == 4 * 3600
    assert site.accounts_of("ada") == ["plasma"]


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        ("acounts = 1", "site.toml: acounts", "write accounts, or remove acounts"),
        ("[weights]\nfair_share = 1", "weights.fair_share", "write fairshare"),
        ("[qos.high]\npreempt = []", "qos.high.preempt", "write preempts"),
        ("[accounts.a.limits]\nmax_job = 1", "accounts.a.limits.max_job", "write max_jobs"),
        ('[accounts.a]\nparent = "b"', "accounts.a.parent", "add a table [accounts.b]"),
        ('[accounts.lab]\n[accounts.x]\nparent = "lob"', "accounts.x.parent", 'write "lab"'),
        ('[qos.a]\npreempts = ["norml"]', "qos.a.preempts", 'write "normal"'),
        ("[accounts.a]\nshares = -1", "accounts.a.shares", "write 0 or more"),
        ("[accounts.a]\nshares = true", "accounts.a.shares", "write a whole number"),
        ("[qos.a]\ngrace = 60", "qos.a.grace", 'write "4h"'),
        ('[idle_gpu]\nwarn_after = "9m"\ncancel_after = "5m"', "cancel_after", "as long or longer"),
        ("[partitions.a]\ndefault=true\n[partitions.b]\ndefault=true", "partitions.b", "leave one"),
        ("[reservations.r]\nnodes = []", "reservations.r", "write start"),
        ("accounts = []", "site.toml: accounts", "write it as [accounts]"),
        ('[accounts.a]\nparent = "b"\n[accounts.b]\nparent = "a"', "a.parent", "a parent outside"),
        ("[accounts.a]\nuser = 'x'", "accounts.a.user", "write users"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_to_write(
    text: str, where: str, remedy: str
) -> None:
    with pytest.raises(SiteInvalid) as caught:
        parse_site(text, PATH)
    assert where in caught.value.problem
    assert remedy in caught.value.remedy


def test_an_account_whose_shares_are_its_parents_has_none_of_its_own() -> None:
    site = parse_site('[accounts.a]\nusers.ada.shares = "parent"', PATH)
    assert site.accounts == (Account(name="a"), Account(name="a", user="ada", shares=None))


def test_a_changed_file_is_read_again_and_a_broken_one_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('policy = "fifo"')
    file = SiteFile({}, path)
    assert not file.refresh()
    _replace(path, 'policy = "sjf"')
    assert file.refresh()
    assert file.now.policy == "sjf"
    _replace(path, "policy = ")
    assert file.refresh()
    assert file.now.policy == "sjf"
    assert file.problem is not None
    assert "is not TOML" in file.problem.why
    assert not file.refresh()
    assert file.refresh(force=True)
    _replace(path, "")
    assert file.refresh()
    assert file.now == Site()


def _replace(path: Path, text: str) -> None:
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)


def test_shares_follow_use_after_seconds_unless_the_site_says_otherwise() -> None:
    for text, period_s in (
        ("", 10.0),
        ("[weights]\nfairshare = 1", 10.0),
        ('[weights]\ncalc_period = "5m"', 300.0),
    ):
        assert parse_site(text, PATH).weights.calc_period_s == period_s
    assert Site().weights.calc_period_s == 10.0
