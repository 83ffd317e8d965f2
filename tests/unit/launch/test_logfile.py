from pathlib import Path

from headrace.launch.logfile import LogFile


def test_the_first_line_is_written_at_once_and_later_ones_at_most_once_a_second(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    log = LogFile(path)
    log.add_output(0, "o", [b"first\n"], now_s=10.0)
    assert path.read_text() == "0 o first\n"
    log.add_output(1, "e", [b"second\n"], now_s=10.4)
    assert path.read_text() == "0 o first\n"
    assert log.due_s() == 11.0
    log.flush(11.0)
    assert path.read_text() == "0 o first\n1 e second\n"
    assert log.due_s() is None
    log.close(12.0)


def test_what_a_full_disk_swallows_is_counted_and_no_error() -> None:
    log = LogFile(Path("/dev/full"))
    log.add_output(0, "o", [b"x" * 10 + b"\n"], now_s=0.0)
    assert log.lost_bytes == len("0 o ") + 11
    log.close(1.0)
