"""Documents of text."""

from pathlib import Path

from tests.datasets import Written, read


def test_a_file_is_a_document_and_an_empty_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é\r\n".encode())
    (tmp_path / "b.md").write_bytes(b"\xff")
    (tmp_path / "c.txt").touch()
    assert read(Written("text", tmp_path, [])) == [
        {"text": "é\r\n", "name": "a.txt"},
        {"text": b"\xff", "name": "b.md"},
    ]


def test_a_single_file_is_a_single_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hi")
    assert read(Written("text", tmp_path / "a.txt", [])) == [{"text": "hi", "name": "a.txt"}]
