"""Processors: are all cores to be had, do they run at full speed. Pure."""

from collections.abc import Iterator

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Severity


def check(facts: Facts) -> Iterator[Finding]:
    node = facts.node
    if node.cpu_quota is not None and node.cpu_quota < len(node.allowed_cpus):
        yield Finding(
            code="HR-DOCTOR-101",
            severity=Severity.WARNING,
            what=f"A cgroup lets you use {node.cpu_quota:g} of {len(node.allowed_cpus)} CPUs.",
            evidence="cpu.max (version 2) or cpu.cfs_quota_us (version 1) of your cgroup",
            remedy="programs that start a thread for each core are throttled: start the container "
            "with more CPUs, or set OMP_NUM_THREADS (headrace run does)",
        )
    if node.governor in ("powersave", "conservative"):
        yield Finding(
            code="HR-DOCTOR-102",
            severity=Severity.INFO,
            what=f"The processor's frequency governor is {node.governor}.",
            evidence="/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            remedy="as root: cpupower frequency-set -g performance (with intel_pstate, powersave "
            "is usual and mostly harmless)",
        )
