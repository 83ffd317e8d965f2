"""The site file of a daemon that runs."""

import json

import pytest
from tests.integration.site import Site


def test_a_changed_site_file_is_in_force_after_reload_and_a_broken_one_is_not(site: Site) -> None:
    site.configure('[accounts.lab]\nusers = ["ada"]\n')
    site("daemon", "start")
    site.configure("[accounts.lab]\nuser = 1\n")
    with pytest.raises(AssertionError, match=r"HR-LOCAL-001.*accounts\.lab\.user "):
        site("daemon", "reload")
    told = json.loads(site("daemon", "status", "--json"))["daemon"]
    assert "accounts.lab.user" in told["site_problem"]
    site.configure('[accounts.lab]\nusers = ["bob"]\n')
    site("daemon", "reload")
    assert json.loads(site("daemon", "status", "--json"))["daemon"]["site_problem"] is None
