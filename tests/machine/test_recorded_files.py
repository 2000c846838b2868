"""CPU lists, and files that are missing or garbled."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.machine.recorded_files import SystemFiles, parse_cpu_list


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8,10-11", [0, 1, 2, 3, 8, 10, 11]), ("", []), ("5", [5]), (" 1 , 0\n", [0, 1])],
)
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    assert parse_cpu_list(text) == cpus


@given(st.sets(st.integers(0, 4096)))
def test_cpu_lists_of_single_numbers(cpus: set[int]) -> None:
    assert parse_cpu_list(",".join(map(str, cpus))) == sorted(cpus)


@given(st.text() | st.text(alphabet="0123456789-, "))
def test_garbage_is_an_input_error(text: str) -> None:
    try:
        cpus = parse_cpu_list(text)
    except InputError:
        return
    assert cpus == sorted(set(cpus))


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-1", "0-999999999", "²", "1--2"])
def test_what_is_no_cpu_list(text: str) -> None:
    with pytest.raises(InputError, match="CPU list"):
        parse_cpu_list(text)


def test_missing_and_garbled_files(tmp_path: Path) -> None:
    files = SystemFiles(tmp_path)
    (tmp_path / "garbled").write_bytes(b"\xff\xfe12")
    assert files.text("nothing") is None
    assert files.number("nothing") is None
    assert files.number("garbled") is None
    assert list(files.matches("nothing", "*")) == []
    assert files.text("bad\0name") is None
