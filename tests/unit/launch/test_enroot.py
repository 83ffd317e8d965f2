"""What a rank has in an image of enroot, with a stand-in that does what enroot does to it: another
environment, no open files but three, the command script run by sh."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests.integration.site import until

from headrace.core.events import Heartbeat
from headrace.core.order import RankPlace
from headrace.core.records import encode
from headrace.launch.rank import Rank, start
from headrace.spec import make
from headrace.spec.image import in_image

ENROOT = """#!{python}
import os, subprocess, sys

assert sys.argv[1] == "start"
words, given = sys.argv[2:], dict()
while words[0].startswith("--"):
    name, value, *words = words
    given.setdefault(name, []).append(value)
image, *words = words


def ask(text):
    argv = ["/bin/bash", "-euo", "pipefail", "-c", f"source {{given['--conf'][0]}}; {{text}}"]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=-1, check=True, text=True).stdout


lines = [*ask("environ").splitlines(), *given.get("--env", ())]
environment = dict(line.split("=", 1) for line in lines if "=" in line)
bound = [*(mount.split(":")[0] for mount in given["--mount"]), *ask("mounts").split()[::4]]
environment |= dict(PATH="/bin:/usr/bin:/image/bin", BOUND=" ".join(bound), IMAGE=image)
with open(image, "w") as script:
    script.write(ask("declare -f rc | sed '1,2d;$d'"))
os.closerange(3, 4096)
os.execve("/bin/sh", ["sh", image, *words], environment)
"""
PROGRAM = """
import json, os, sys
with os.fdopen(int(os.environ["HEADRACE_CHANNEL_FD"]), "wb") as channel:
    channel.write(sys.argv[1].encode())
print(json.dumps(dict(os.environ) | dict(cwd=os.getcwd(), stdin=sys.stdin.read())))
"""


@pytest.fixture
def rank(tmp_path: Path) -> Rank:
    enroot = tmp_path / "bin/enroot"
    enroot.parent.mkdir()
    enroot.write_text(ENROOT.format(python=sys.executable))
    enroot.chmod(0o755)
    said = encode(Heartbeat(rank=0, step=7)).decode()
    spec = make(
        name="gpt",
        cwd=tmp_path,
        image="model.sqsh",
        command=(sys.executable, "-c", PROGRAM, f"{said}\n"),
    )
    return start(
        in_image(spec, spec.argv, run=tmp_path / "runs/gpt-1", gpus=0),
        place=RankPlace(rank=0, local_rank=0, node="n1", node_rank=0, cpus=(), gpus=()),
        environment={
            "PATH": f"{enroot.parent}:/usr/bin:/bin",
            "SHELL": "/bin/tcsh",
            "LD_LIBRARY_PATH": "/host/lib",
            "RANK": "0",
            "HEADRACE_SESSION": '{"until_steps":4}',
            "APPTAINER_BIND": "/nvme/a,/nvme/b:/nvme/b:ro",
        },
        workdir=str(tmp_path),
    )


def test_a_rank_in_an_image_of_enroot_has_its_folder_environment_channel_and_data(
    rank: Rank, tmp_path: Path
) -> None:
    printed: list[bytes] = []

    def ended() -> bool:
        for stream in rank.streams:
            if not stream.closed:
                printed.extend(stream.lines())
        return all(stream.closed for stream in rank.streams)

    until(ended)
    os.waitpid(rank.pid, 0)
    (line,) = printed
    seen = json.loads(line)
    assert (seen["cwd"], seen["stdin"], seen["RANK"]) == (str(tmp_path), "", "0")
    assert json.loads(seen["HEADRACE_SESSION"]) == {"until_steps": 4}
    assert seen["PATH"] == "/bin:/usr/bin:/image/bin"
    assert not {"SHELL", "LD_LIBRARY_PATH"} & set(seen)
    assert seen["BOUND"] == f"{tmp_path}/runs {tmp_path} /nvme/a /nvme/b"
    (message,) = rank.messages()
    assert isinstance(message, Heartbeat)
    assert message.step == 7
    rank.close()
