"""What ranks are told of data that was brought near, and where their Python is."""

from headrace.core.events import Staged
from headrace.core.order import DataPlace, Order, PythonPlace, RestartPolicy, SessionSettings
from headrace.launch.before import data_environment, near


def test_the_environment_names_copies_and_sources() -> None:
    data = (DataPlace(source="/a", tier="nvme"), DataPlace(source="/b", tier="nvme"))
    staged = [brought("/a", "/c/tree", "/c"), brought("/b", None, "/d")]
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


def order(*names: str) -> Order:
    return Order(
        run_id="run-1",
        name="run",
        attempt=0,
        placed=(),
        ranks_per_node=1,
        cpus_per_rank=1,
        framework="torch",
        command=(),
        workdir="/w",
        env={},
        environment_file="",
        session=SessionSettings(),
        setup=None,
        python=PythonPlace(names=names, archive="/r/aa.tar", size_bytes=1, tier="nvme"),
        time_limit_s=None,
        time_used_s=0.0,
        stop_grace_s=1.0,
        kill_wait_s=1.0,
        hang_s=None,
        restart=RestartPolicy(),
        restarts_used=0,
    )


def brought(source: str, tree: str | None, root: str | None) -> Staged:
    return Staged(
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


def unpacked(tree: str | None) -> Staged:
    return brought("/home/ada/venv", tree, tree)


def test_ranks_find_the_copy_of_their_python_by_all_its_names() -> None:
    asked = order("/home/ada/venv", "/lustre/ada/venv", "venv")
    line = "source venv/bin/activate && ./venv/bin/x old-venv/bin/y /lustre/ada/venv/bin/z venv/a"
    environment = {
        "PATH": "/home/ada/venv/bin:/usr/bin:/home/ada/venv2/bin",
        "VIRTUAL_ENV": "/lustre/ada/venv",
        "RESULTS": "/home/ada/venv/results",
    }
    argv, found = near(asked, [unpacked("/tmp/t")], ("/bin/bash", "-c", line), environment)
    assert argv == (
        *("/bin/bash", "-c"),
        "source /tmp/t/bin/activate && ./venv/bin/x old-venv/bin/y /tmp/t/bin/z venv/a",
    )
    assert found == {
        "PATH": "/tmp/t/bin:/usr/bin:/home/ada/venv2/bin",
        "VIRTUAL_ENV": "/tmp/t",
        "RESULTS": "/home/ada/venv/results",
    }


def test_without_a_copy_ranks_start_as_ever() -> None:
    asked, argv, environment = order("/home/ada/venv"), ("python",), {"PATH": "/home/ada/venv/bin"}
    for staged in ([], [unpacked(None)]):
        assert near(asked, staged, argv, environment) == (argv, environment)
