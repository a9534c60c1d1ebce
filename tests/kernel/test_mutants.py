"""The list of faults in tools/mutants fits the code as it is now."""

from __future__ import annotations

import pytest
import yaml
from faults import FAULTS as FOLDER
from faults import KINDS, ROOT, Fault, FaultError, load_faults
from selection import nearest

FAULTS = load_faults()


@pytest.mark.parametrize("file", sorted({fault.file for fault in FAULTS}))
def test_every_fault_fits_its_file_and_is_listed_once(file: str) -> None:
    source = (ROOT / file).read_text()
    wrong: list[str] = []
    results: dict[str, str] = {}
    for fault in [fault for fault in FAULTS if fault.file == file]:
        try:
            first = results.setdefault(fault.apply(source), fault.id)
        except FaultError as error:
            wrong.append(str(error))
        else:
            wrong += [f"{fault.id}: the same change as {first}"] if first != fault.id else []
    assert not wrong, "adapt tools/mutants/faults to the changed code:\n" + "\n".join(wrong)


def test_a_fault_that_changes_nothing_is_refused() -> None:
    fault = Fault("same", "key", "x.py", "", old="a = 1", new="a = (1)")
    with pytest.raises(FaultError, match="means the same"):
        fault.apply("a = 1\n")


def test_a_fault_must_stand_once() -> None:
    fault = Fault("twice", "key", "x.py", "", old="1", new="2")
    with pytest.raises(FaultError, match="stands 2 times"):
        fault.apply("a = 1\nb = 1\n")


def test_a_statement_in_a_function_does_not_run_at_import() -> None:
    source = "LIMIT = 3\n\ndef check(x):\n    return (\n        x < LIMIT\n    )\n"
    assert Fault("a", "key", "x.py", "", "x < LIMIT", "x <= LIMIT").statement(source) == (range(4, 7), False)
    assert Fault("b", "key", "x.py", "", "LIMIT = 3", "LIMIT = 4").statement(source) == (range(1, 2), True)


def test_there_are_faults_of_every_kind() -> None:
    assert len(FAULTS) >= 120
    assert {fault.kind for fault in FAULTS} == set(KINDS)


def test_the_weekly_job_tries_every_list() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "weekly.yml").read_text())["jobs"]["mutants"]
    assert job["strategy"]["matrix"]["list"] == sorted(path.stem for path in FOLDER.glob("*.yaml"))


def test_without_a_map_every_fault_has_tests_that_exist() -> None:
    for fault in FAULTS:
        tests = nearest(fault)
        assert tests and all((ROOT / test).exists() for test in tests), fault.id
        assert fault.kind != "device" or "tests/device" in tests
