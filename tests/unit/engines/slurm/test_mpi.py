"""How srun connects the ranks of an MPI program."""

from pathlib import Path

import pytest

from headrace.engines.slurm.begin import mpi_environment
from headrace.engines.slurm.facts import facts_of
from headrace.spec import make

PMIX = {"SLURM_MPI_TYPE": "pmix"}


@pytest.mark.parametrize(
    ("site", "framework", "environ", "env", "added"),
    [
        ("none", "mpi", {}, {}, PMIX),
        ("none", "torch", {}, {}, {}),
        ("pmi2", "mpi", {}, {}, {}),
        ("none", "mpi", {"SLURM_MPI_TYPE": "pmi2"}, {}, {}),
        ("none", "mpi", {}, {"SLURM_MPI_TYPE": "pmi2"}, {}),
    ],
)
def test_the_user_says_it_else_the_site_else_pmix(
    site: str, framework: str, environ: dict[str, str], env: dict[str, str], added: dict[str, str]
) -> None:
    facts = facts_of({"MpiDefault": site}, "", "", now_s=0.0)
    spec = make(cwd=Path("/w"), command=("./ring",), framework=framework, env=env)
    assert mpi_environment(spec, facts, environ) == added
