"""Commands of Slurm, run as programs."""

from pathlib import Path

from headrace.engines.slurm.call import call


def test_a_job_name_that_is_no_text_does_not_hide_the_other_jobs(tmp_path: Path) -> None:
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\nprintf 'Pr\\374fung\\nPrüfung\\n'\n", encoding="utf-8")
    program.chmod(0o755)
    assert call(["squeue"], environ={"PATH": f"{tmp_path}:/bin"}) == "Pr�fung\nPrüfung\n"
