"""Rules that no reviewer has to remember."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "headrace"

PROBE = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
heavy = {"torch", "jax", "tensorflow"}
print(*sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""

LOGIN_NODE_ROOMS = [
    "headrace.cli",
    "headrace.cluster",
    "headrace.control",
    "headrace.core",
    "headrace.diagnose",
    "headrace.engines",
    "headrace.launch",
    "headrace.monitor",
    "headrace.schedule",
    "headrace.spec",
]


@pytest.mark.parametrize("room", LOGIN_NODE_ROOMS)
def test_the_login_node_side_never_imports_a_training_framework(room: str) -> None:
    argv = [sys.executable, "-c", PROBE, room]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def error_codes() -> dict[str, list[str]]:
    """code -> classes that carry it, from the source text."""
    found: dict[str, list[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            for line in node.body:
                if (
                    isinstance(line, ast.Assign)
                    and getattr(line.targets[0], "id", "") == "code"
                    and isinstance(line.value, ast.Constant)
                    and str(line.value.value).startswith("HR-")
                ):
                    found.setdefault(str(line.value.value), []).append(node.name)
    return found


def test_every_error_code_has_a_section_in_the_docs_and_the_other_way_round() -> None:
    documented = re.findall(r"^## (HR-[A-Z]+-\d+)$", (ROOT / "docs/errors.md").read_text(), re.M)
    assert sorted(documented) == sorted(error_codes())


def test_no_two_errors_share_a_code() -> None:
    shared = {code: names for code, names in error_codes().items() if len(names) > 1}
    assert shared == {}


def test_no_room_is_empty_and_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_file_has_a_name_that_tells_nothing() -> None:
    vague = {"utils", "helpers", "manager", "base", "common", "misc"}
    assert [path for path in SOURCE.rglob("*.py") if path.stem in vague] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        broken += [
            f"{page.relative_to(ROOT)}: {target}"
            for target in targets
            if not (page.parent / target).exists()
        ]
    assert broken == []


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md"])
def test_the_map_names_every_room(page: str) -> None:
    if page == "README.md":
        words = (ROOT / page).read_text().partition("```")[0].split()
        assert len(words) <= 100, "the README's first program stands after at most 100 words"
        return
    text = (ROOT / page).read_text()
    rooms = [path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()]
    assert [room for room in rooms if f"{room}/" not in text] == []
