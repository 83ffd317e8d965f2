"""Finding a trace on the disk: packed, in archives, of a format nobody named."""

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from headrace.core.errors import HeadraceError
from headrace.simulate.errors import FormatUnknown, TraceUnusable
from headrace.simulate.machine import parse_cluster
from headrace.simulate.read import FORMATS, detect, read_trace

TABLE = "id,submit_s,run_s\na,0,1\n"
SWF = "1 0 5 10 2 -1 -1 2 60 -1 1 1 1 -1 -1 -1 -1 -1\n"


def archive(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:xz") as into:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            into.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("; MaxProcs: 4\n", "swf"),
        (SWF, "swf"),
        ('{"jobs": []}', "batsim"),
        ("-dt 0 -e submit_batch_job | -J a\n", "ub"),
        ("timestamp,duration,num_gpus,gpu_time,cluster\n", "philly"),
        ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\n", "openb"),
        ("JobID|State|Submit\n", "sacct"),
        (TABLE, "csv"),
        ("who,knows\n", None),
        ("", None),
    ],
)
def test_the_first_lines_tell_the_format(text: str, kind: str | None) -> None:
    assert detect(text) == kind


def test_packed_files_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(TABLE.encode()))
    (tmp_path / "dos.csv").write_bytes(b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode())
    for name in ("a.csv", "a.csv.gz", "a.csv.xz", "dos.csv"):
        assert [one.job.id for one in read_trace(tmp_path / name).jobs] == ["a"]


def test_the_one_trace_in_an_archive_is_found(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.xz", {"notes.txt": "hello\n", "x/jobs.csv": TABLE})
    assert read_trace(path).name == "x/jobs.csv"


def test_one_of_several_is_named_as_if_the_archive_were_a_folder(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.xz", {"x/a.csv": TABLE, "x/b.swf": SWF})
    with pytest.raises(TraceUnusable, match="2 of its members are traces") as caught:
        read_trace(path)
    assert "a.tar.xz/x/a.csv" in caught.value.remedy
    assert read_trace(path / "x" / "b.swf").jobs[0].job.id == "1"
    assert read_trace(path, format="swf").jobs[0].job.id == "1"


def test_a_cluster_that_is_given_takes_the_place_of_the_traces_own(tmp_path: Path) -> None:
    (tmp_path / "a.swf").write_text("; MaxProcs: 4\n" + SWF)
    cluster = parse_cluster("2x4cpu")
    assert read_trace(tmp_path / "a.swf", cluster=cluster).cluster == cluster


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("absent.csv", None, "is not there"),
        ("empty.csv", b" \n", "is empty"),
        ("binary.csv", b"id,submit_s\0", "is not text"),
        ("cut.csv.xz", lzma.compress(TABLE.encode())[:-8], "cannot be read"),
        ("cut.csv.gz", gzip.compress(TABLE.encode(), mtime=0)[:-9], "cannot be read"),
        ("not.csv.xz", b"plain text", "cannot be read"),
        ("cut.tar.xz", lzma.compress(b"x" * 3000)[:-20], "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TraceUnusable, match=what):
        read_trace(path)


def test_a_folder_is_not_a_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceUnusable, match="is a folder"):
        read_trace(tmp_path)


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("what is this\n")
    for format_ in (None, "pbs"):
        with pytest.raises(FormatUnknown) as caught:
            read_trace(tmp_path / "a.txt", format=format_)
        assert all(known in caught.value.why for known in FORMATS)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_of_another_format_is_refused_and_not_a_traceback(
    tmp_path: Path, format_: str
) -> None:
    (tmp_path / "a").write_text("lorem ipsum\ndolor | sit | amet\n{}\n")
    with pytest.raises(HeadraceError):
        read_trace(tmp_path / "a", format=format_)
