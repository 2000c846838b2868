"""Rivals: what each computes is right, what is missing is said in words, and who runs how."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from topout.errors import UnsupportedError
from topout.gemm import rivals, rivals_blas
from topout.gemm.bounds import allowed_after_bf16_output, allowed_error, compare
from topout.gemm.matrices import as_doubles, random_matrix
from topout.gemm.rivals import CORETYPE_VARIABLE, Rival, find_rival, rival_environment, rivals_of
from topout.records.gemm import GemmDtype

DTYPES: tuple[GemmDtype, ...] = ("fp32", "bf16", "int8")
ALL = [(dtype, rival.name) for dtype in DTYPES for rival in rivals_of(dtype)]
AVX512 = "flags\t\t: fpu avx512f avx512dq avx512cd avx512bw avx512vl\n"


def error_of(rival: Rival, m: int, n: int, k: int, threads: int) -> float:
    random = np.random.default_rng(7)
    a, b = (random_matrix(*size, rival.dtype, random) for size in ((m, k), (k, n)))
    multiply = rival.prepare(a, b, threads)
    multiply()
    found = multiply()
    left, right = as_doubles(a), as_doubles(b)
    exact = left @ right
    allowed = allowed_error(np.abs(left) @ np.abs(right), k, rival.dtype)
    if found.dtype == np.uint16:
        allowed = allowed_after_bf16_output(exact, allowed)
    result = compare(as_doubles(found), exact, allowed, np.arange(m))
    assert result.mismatch is None, result.mismatch
    return result.error_of_bound


@pytest.mark.parametrize(("dtype", "name"), ALL)
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 33, 65), (40, 17, 128)])
def test_a_rival_is_right_or_says_why_it_is_missing(
    dtype: GemmDtype, name: str, size: tuple[int, int, int]
) -> None:
    rival = find_rival(name, dtype)
    missing = rival.reason_missing()
    if missing is not None:
        assert len(missing.split()) > 3
        return
    assert error_of(rival, *size, threads=1) <= 1


@pytest.mark.parametrize(("dtype", "name"), ALL)
def test_a_rival_keeps_its_inputs_and_computes_anew_at_each_call(
    dtype: GemmDtype, name: str
) -> None:
    rival = find_rival(name, dtype)
    if rival.reason_missing() is not None:
        return
    random = np.random.default_rng(3)
    a, b = (random_matrix(*size, dtype, random) for size in ((4, 8), (8, 16)))
    multiply = rival.prepare(a.copy(), b.copy(), 1)
    first = np.array(multiply())
    # Nothing but the function holds the matrices now.
    assert np.array_equal(np.array(multiply()), first)
    assert first.shape == (4, 16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_names_are_unique_within_a_data_type(dtype: GemmDtype) -> None:
    names = [rival.name for rival in rivals_of(dtype)]
    assert len(set(names)) == len(names)
    assert all(rival.dtype == dtype for rival in rivals_of(dtype))


def test_pytorch_is_always_there() -> None:
    assert [find_rival("pytorch", dtype).reason_missing() for dtype in DTYPES] == [None] * 3


def test_an_unknown_rival_is_no_rival() -> None:
    with pytest.raises(KeyError):
        find_rival("atlas", "fp32")


def test_without_mkl_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch._C, "has_mkl", False)
    assert find_rival("mkl", "fp32").reason_missing() == "this PyTorch was built without MKL"


def test_functions_of_mkl_that_are_hidden_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch._C, "has_mkl", True)
    monkeypatch.setattr(rivals_blas, "_mkl_library", lambda: types.SimpleNamespace(sgemm_=None))
    assert find_rival("mkl", "fp32").reason_missing() is None
    reason = find_rival("mkl_packed", "fp32").reason_missing()
    assert reason is not None and "cblas_sgemm_compute" in reason


def test_without_pytorchs_library_mkl_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch._C, "has_mkl", True)
    monkeypatch.setattr(rivals_blas, "_mkl_library", lambda: None)
    assert "libtorch_cpu" in (find_rival("mkl", "bf16").reason_missing() or "")
    with pytest.raises(UnsupportedError):
        rivals_blas._mkl_function("sgemm_")


def test_without_onednn_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch._C, "_has_mkldnn", False)
    for name, dtype in (("onednn", "fp32"), ("onednn_packed", "bf16"), ("onednn_packed", "int8")):
        reason = find_rival(name, dtype).reason_missing()  # type: ignore[arg-type]
        assert reason == "this PyTorch was built without oneDNN"


def test_bf16_of_onednn_needs_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch._C, "_has_mkldnn", True)
    namespace = types.SimpleNamespace(
        _linear_pointwise=None, _is_mkldnn_bf16_supported=lambda: False
    )
    monkeypatch.setattr(torch.ops, "mkldnn", namespace)
    assert rivals._missing_onednn("fp32") is None
    assert "processor" in (rivals._missing_onednn("bf16") or "")
    monkeypatch.setattr(torch.ops, "mkldnn", types.SimpleNamespace())
    assert "linear operator" in (rivals._missing_onednn("fp32") or "")


def test_without_openblas_the_reason_names_numpys_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals_blas, "_openblas", lambda: None)
    monkeypatch.setattr(rivals_blas, "_blas_of_numpy", lambda: "accelerate")
    reason = find_rival("openblas", "fp32").reason_missing()
    assert reason == "numpy carries no OpenBLAS here; its BLAS is accelerate"


def test_a_library_without_the_functions_is_not_openblas(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "libopenblas.so"
    broken.write_text("no library")
    monkeypatch.setattr(rivals_blas, "_openblas_files", lambda: [broken])
    assert rivals_blas._openblas.__wrapped__() is None


def test_mkl_is_not_told_sizes_beyond_its_integers() -> None:
    values: Any = np.zeros((1, 1), np.float32)
    huge = np.lib.stride_tricks.as_strided(values, shape=(2**31, 1), strides=(0, 4))
    with pytest.raises(UnsupportedError, match="MKL counts to"):
        rivals_blas._for_mkl(huge, values, 1)


def environment_of(tmp_path: Path, text: str, **environment: str) -> dict[str, str]:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    return rival_environment(environment, file)


def test_avx512_kernels_are_asked_for_where_the_processor_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert environment_of(tmp_path, AVX512) == {CORETYPE_VARIABLE: "SkylakeX"}
    assert environment_of(tmp_path, "flags : fpu avx2\n") == {}
    assert environment_of(tmp_path, AVX512.replace("avx512vl", "")) == {}
    assert rival_environment({}, tmp_path / "missing") == {}


def test_what_a_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert environment_of(tmp_path, AVX512, OPENBLAS_CORETYPE="Haswell") == {}


def test_other_processors_choose_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert environment_of(tmp_path, AVX512) == {}
