"""What ranks are told of data that was brought near."""

from headrace.core.events import Staged
from headrace.core.order import DataPlace
from headrace.launch.before import data_environment


def test_the_environment_names_copies_and_sources() -> None:
    data = (DataPlace(source="/a", tier="nvme"), DataPlace(source="/b", tier="nvme"))
    staged = [
        Staged(
            node="n",
            source=source,
            tier="nvme",
            tree=tree,
            root=root,
            size_bytes=1,
            near_bytes=1,
            copied_bytes=1,
            seconds=1.0,
        )
        for source, tree, root in (("/a", "/c/tree", "/c"), ("/b", None, "/d"))
    ]
    assert data_environment(data, staged, {"APPTAINER_BIND": "/opt"}) == {
        "APPTAINER_BIND": "/opt,/c,/d",
        "HEADRACE_DATA": "/c/tree",
        "HEADRACE_DATA_0": "/c/tree",
        "HEADRACE_DATA_1": "/b",
        "HEADRACE_STAGED": '{"/a":"/c","/b":"/d"}',
    }
    assert data_environment(data, [], {}) == {
        "HEADRACE_DATA": "/a",
        "HEADRACE_DATA_0": "/a",
        "HEADRACE_DATA_1": "/b",
    }
    assert data_environment((), [], {"A": "b"}) == {"A": "b"}
