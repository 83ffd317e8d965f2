"""All rules over all facts, worst first. Pure."""

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Severity
from headrace.diagnose.rules import gpu, memory, network, processor, software, storage

_RULES = (gpu, memory, network, processor, software, storage)
_ORDER = list(Severity)


def doctor(facts: Facts) -> tuple[Finding, ...]:
    """Findings in the order of severity, then of code."""
    found = [finding for rule in _RULES for finding in rule.check(facts)]
    return tuple(sorted(found, key=lambda f: (_ORDER.index(f.severity), f.code, f.what)))
