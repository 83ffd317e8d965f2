"""Headrace: one job description, from plan to served model, on a laptop or on Slurm.

Names are imported when they are first used, so that importing the package costs nothing. They are
also found under submitit's names: ``import headrace as submitit`` works.
"""

TYPE_CHECKING = False  # typing itself is 10 ms
if TYPE_CHECKING:
    from headrace.control.executor.executor import Executor
    from headrace.control.executor.job import Job
    from headrace.launch import delayed as helpers
    from headrace.launch.delayed import Checkpointable, DelayedSubmission
    from headrace.launch.job_environment import JobEnvironment

    AutoExecutor = Executor

__version__ = "0.1.0"
__all__ = [
    "AutoExecutor",
    "Checkpointable",
    "DelayedSubmission",
    "Executor",
    "Job",
    "JobEnvironment",
    "helpers",
]

_HOMES = {
    "AutoExecutor": "control.executor.executor:Executor",
    "Checkpointable": "launch.delayed:Checkpointable",
    "DelayedSubmission": "launch.delayed:DelayedSubmission",
    "Executor": "control.executor.executor:Executor",
    "Job": "control.executor.job:Job",
    "JobEnvironment": "launch.job_environment:JobEnvironment",
    "helpers": "launch.delayed:",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home, _, attribute = _HOMES[name].partition(":")
        module = import_module(f"headrace.{home}")
        return getattr(module, attribute) if attribute else module
