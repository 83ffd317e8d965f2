import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.spec.errors import SpecError
from headrace.spec.job import JobSpec
from headrace.spec.load import load_text
from headrace.spec.origin import WRITTEN
from headrace.spec.schema import FieldNote, fields, json_schema, reference_table

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "job-file.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
FORMS = [(note, form) for note in fields() for form in note.forms]


def test_the_table_of_the_reference_is_what_the_types_say() -> None:
    assert PAGE.endswith(reference_table())


def test_the_reference_has_two_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_of_the_reference_loads(text: str, tmp_path: Path) -> None:
    assert load_text(text, cwd=tmp_path).argv


@pytest.mark.parametrize(("note", "form"), FORMS, ids=[f"{n.path}={f}" for n, f in FORMS])
def test_every_form_of_the_table_loads(note: FieldNote, form: str, tmp_path: Path) -> None:
    (tmp_path / "job.sbatch").write_text("#!/bin/bash\n")
    value: Any = yaml.load(form, yaml.BaseLoader)
    for step in reversed(note.path.replace("[]", ".0").split(".")):
        value = [value] if step == "0" else {step: value}
    if note.path.startswith("data[]") and "source" not in note.path:
        value["data"][0]["source"] = "/data"
    if note.path not in ("run", "python", "command", "script"):
        value["run"] = "a"
    try:
        load_text(yaml.dump(value), cwd=tmp_path)
    except SpecError as error:
        pytest.fail(str(error))


def test_every_field_has_a_meaning_and_a_form() -> None:
    assert [note.path for note in fields() if not (note.meaning and note.forms)] == []


def test_the_schema_names_every_field_as_a_job_file_does() -> None:
    schema = json_schema()
    assert list(schema["properties"]) == [WRITTEN.get(name, name) for name in JobSpec.model_fields]
    assert schema["additionalProperties"] is False
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["checkpoint"]["properties"]["grace"]["description"]
    assert schema["properties"]["framework"]["enum"] == [
        "torch",
        "jax",
        "tensorflow",
        "mpi",
        "none",
    ]
    assert json.loads(json.dumps(schema)) == schema
