"""The build cache: what its key follows, and that no broken library is ever loaded."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from topout.errors import CompilerError
from topout.kernels import build
from topout.kernels.build import (
    build_key,
    build_library,
    cpu_identity,
    find_compiler,
    included_files,
    target_flags,
)

SOURCE = '#include "number.h"\nextern "C" int answer() { return kNumber; }\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel of one file and one header, and an empty cache."""
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "number.h").write_text("constexpr int kNumber = 42;\n")
    file = folder / "answer.cpp"
    file.write_text(SOURCE)
    return file


def answer_of(library: Path) -> int:
    return int(ctypes.CDLL(str(library)).answer())


def test_a_library_is_built_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build_library("answer", [source])
    assert answer_of(library) == 42
    assert library.parent == Path(os.environ["TOPOUT_CACHE"]) / "kernels"
    assert [path.name for path in library.parent.iterdir()] == [library.name]

    def refuse(*_: object) -> Path:
        raise AssertionError("compiled again")

    monkeypatch.setattr(build, "_compile", refuse)
    assert build_library("answer", [source]) == library


def test_the_key_follows_everything(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = find_compiler()
    keys = [build_key([source], ["-O3"], compiler)]
    keys.append(build_key([source], ["-O2"], compiler))
    keys.append(build_key([source], ["-O3"], compiler._replace(version="another")))
    monkeypatch.setattr(build, "cpu_identity", lambda: "another CPU")
    keys.append(build_key([source], ["-O3"], compiler))
    monkeypatch.undo()
    (source.parent / "number.h").write_text("constexpr int kNumber = 43;\n")
    keys.append(build_key([source], ["-O3"], compiler))
    source.write_text(SOURCE + "// changed\n")
    keys.append(build_key([source], ["-O3"], compiler))
    assert len(set(keys)) == len(keys)
    assert keys[-1] == build_key([source], ["-O3"], compiler)


def test_a_changed_header_gives_another_library(source: Path) -> None:
    first = build_library("answer", [source])
    (source.parent / "number.h").write_text("constexpr int kNumber = 43;\n")
    second = build_library("answer", [source])
    assert first != second
    assert (answer_of(first), answer_of(second)) == (42, 43)


def test_included_files_are_found_through_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#pragma once\n#include "b.h"\n#include <vector>\n')
    (tmp_path / "b.h").write_text('  #  include "a.h"\n#include "not_there.h"\n')
    source = tmp_path / "c.cpp"
    source.write_text('#include "a.h"\n')
    names = [file.name for file in included_files(source)]
    assert names == ["a.h", "b.h", "c.cpp"]


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", None])
def test_a_damaged_library_is_built_again(damage: bytes | None, source: Path) -> None:
    library = build_library("answer", [source])
    whole = library.read_bytes()
    library.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = build_library("answer", [source])
    assert again.read_bytes() == whole or answer_of(again) == 42
    assert len(list(again.parent.glob("*.so"))) == 1


@pytest.mark.parametrize("change", ["open", "link", "stranger"])
def test_a_library_that_may_be_another_users_is_built_again(change: str, source: Path) -> None:
    """Whoever writes a file chooses its name, so that the digest in it proves nothing."""
    library = build_library("answer", [source])
    planted = library.with_name("planted.so")
    library.rename(planted)
    if change == "link":
        library.symlink_to(planted)
    else:
        planted.rename(library)
    if change == "open":
        library.chmod(0o775)
    if change == "stranger":
        if os.getuid() != 0:
            pytest.skip("only root can give a file to another user")
        os.chown(library, 54321, -1)
    with pytest.raises(CompilerError, match=r"loaded .*(other user|symbolic links)"):
        build._loaded(library)
    again = build_library("answer", [source])
    assert not again.is_symlink() and again.stat().st_uid == os.getuid()
    assert again.stat().st_mode & 0o022 == 0
    assert build._loaded(again).answer() == 42


def test_what_is_built_under_any_umask_is_loaded(source: Path) -> None:
    before = os.umask(0)
    try:
        library = build_library("answer", [source])
    finally:
        os.umask(before)
    assert build._loaded(library).answer() == 42
    assert build_library("answer", [source]) == library


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors have no names here")
def test_what_is_loaded_is_what_was_checked(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another file takes its place meanwhile, and of two libraries each is itself."""
    first = build_library("answer", [source])
    (source.parent / "number.h").write_text("constexpr int kNumber = 43;\n")
    second = build_library("answer", [source])
    checked_name = build._checked_name

    def replaced(descriptor: int, path: Path) -> str:
        name = checked_name(descriptor, path)
        path.unlink()
        path.write_bytes(second.read_bytes())
        return name

    monkeypatch.setattr(build, "_checked_name", replaced)
    loaded = build._loaded(first)
    monkeypatch.undo()
    assert (loaded.answer(), build._loaded(second).answer()) == (42, 43)


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", b"another"])
def test_a_library_that_is_damaged_meanwhile_is_not_loaded(damage: bytes, source: Path) -> None:
    library = build_library("answer", [source])
    library.write_bytes(damage)
    with pytest.raises(CompilerError, match=r"cannot be loaded \(it is damaged"):
        build._loaded(library)


def test_the_cpu_is_known_by_model_and_flags(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor: 0\nmodel name\t: A\nflags\t\t: avx\ncpu MHz\t\t: 1000\n")
    first = cpu_identity(info)
    info.write_text("processor: 0\nmodel name\t: A\nflags\t\t: avx\ncpu MHz\t\t: 2000\n")
    assert cpu_identity(info) == first
    info.write_text("processor: 0\nmodel name\t: A\nflags\t\t: avx avx2\ncpu MHz\t\t: 2000\n")
    assert cpu_identity(info) != first
    assert cpu_identity(tmp_path / "not there")


def test_the_target_is_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, flags in (
        ("x86_64", ("-march=native",)),
        ("aarch64", ("-mcpu=native",)),
        ("arm64", ("-mcpu=native",)),
        ("riscv64", ()),
    ):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert target_flags() == flags


def test_without_a_compiler_the_error_names_the_package(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(CompilerError, match=r"no C\+\+ compiler.*apt install g\+\+"):
        build_library("answer", [source])


@pytest.mark.parametrize("named", ["no-such-compiler", "false"])
def test_a_compiler_that_does_not_run_is_named(
    named: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", named)
    with pytest.raises(CompilerError, match=named):
        build_library("answer", [source])


def test_cxx_may_hold_arguments(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ -DUNUSED='a b'")
    assert find_compiler().command == ("g++", "-DUNUSED=a b")
    assert answer_of(build_library("answer", [source])) == 42


def test_a_refused_kernel_gives_the_first_error(source: Path) -> None:
    source.write_text("int f() {\n  int unused = 1;\n  return missing;\n}\n")
    with pytest.raises(CompilerError, match=r"answer\.cpp:\d+:\d+: error: ") as caught:
        build_library("answer", [source])
    assert "\n" not in str(caught.value)
    assert list((Path(os.environ["TOPOUT_CACHE"]) / "kernels").iterdir()) == []


def test_a_warning_stops_us_and_no_user(source: Path) -> None:
    source.write_text('extern "C" int answer() { int unused = 1; return 42; }\n')
    assert answer_of(build_library("answer", [source])) == 42


@pytest.mark.parametrize("file", sorted(build.SOURCE_FOLDER.rglob("*.cpp")), ids=lambda f: f.name)
def test_no_source_raises_a_warning(file: Path, tmp_path: Path) -> None:
    # Those that share their work by OpenMP know its pragmas; to the others the flag is nothing.
    flags = [
        "-std=c++17",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fPIC",
        "-fopenmp",
        *target_flags(),
    ]
    command = [*find_compiler().command, *flags, "-c", str(file), "-o", str(tmp_path / "object")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_processes_build_at_once(source: Path) -> None:
    code = (
        "import sys, ctypes\nfrom pathlib import Path\n"
        "from topout.kernels.build import build_library\n"
        "path = build_library('answer', [Path(sys.argv[1])])\n"
        "assert ctypes.CDLL(str(path)).answer() == 42\nprint(path)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(source)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    paths = {process.communicate(timeout=600)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert all(Path(path).is_file() for path in paths)
