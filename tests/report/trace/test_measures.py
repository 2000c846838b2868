"""The names of devices and kernels, and the figures of each device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.trace.analysis.example_trace_report import (
    CAST,
    NCCL,
    device,
    devices_report,
    empty_report,
    gpus_report,
    host_report,
)
from topout import units
from topout.report.document import Table
from topout.report.trace.document import headline, report_title, subject_sentence
from topout.report.trace.measures import (
    MOST_COLUMNS,
    Measure,
    device_labels,
    device_table,
    every_device,
    milliseconds,
    place_label,
    short_kernel,
    short_names,
    work_noun,
)


def test_one_device_a_rank_is_named_by_its_rank() -> None:
    assert device_labels([device(0), device(3)]) == ["rank 0", "rank 3"]


def test_several_devices_of_a_rank_are_named_by_both() -> None:
    assert device_labels([device(0, 0), device(0, 1), device(0, -1)]) == [
        "rank 0, GPU 0",
        "rank 0, GPU 1",
        "rank 0, host",
    ]


def test_without_ranks_devices_are_named_by_their_number() -> None:
    assert device_labels([device(None, 0), device(None, 1)]) == ["GPU 0", "GPU 1"]
    assert device_labels([device(None, -1)]) == ["host"]


def test_labels_that_would_clash_get_the_file_and_then_a_number() -> None:
    alike = [device(None, 0, file="a.csv"), device(None, 0, file="b.csv")]
    assert device_labels(alike) == ["GPU 0, a.csv", "GPU 0, b.csv"]
    twins = [device(None, 0, file="a.csv")] * 2
    assert device_labels(twins) == ["GPU 0, a.csv, no. 1", "GPU 0, a.csv, no. 2"]


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 3), st.integers(-1, 3), st.sampled_from("ab")),
        max_size=12,
    )
)
def test_labels_are_always_told_apart(
    triples: list[tuple[int | None, int, str]],
) -> None:
    labels = device_labels([device(rank, number, file=file) for rank, number, file in triples])
    assert len(set(labels)) == len(triples)


def test_ends_of_transfers() -> None:
    assert place_label(-1, "device") == place_label(-1, "rank") == "host"
    assert place_label(2, "device") == "GPU 2"
    assert place_label(2, "rank") == "rank 2"


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(0.45, "450"), (1263.1334, "1,263,133"), (0.0, "0"), (1.5e-6, "0.00150"), (0.9999, "1000")],
)
def test_milliseconds(value_s: float, text: str) -> None:
    assert milliseconds(value_s) == text


def test_a_kernel_is_named_without_return_type_and_parameters() -> None:
    assert short_kernel(NCCL) == "ncclDevKernel_AllReduce_Sum_f32_RING_LL"
    assert short_kernel("void gemm<float>(int, float*)") == "gemm<float>"
    assert short_kernel("void k<(int)4>(f<(int)2>())") == "k<(int)4>"


@pytest.mark.parametrize(
    "name", ["Memcpy HtoD (Pinned -> Device)", "a::(anonymous namespace)::b<1>", "odd)", "(odd", ""]
)
def test_other_parentheses_stay(name: str) -> None:
    assert short_kernel(name) == name


def test_a_long_kernel_keeps_both_ends() -> None:
    short = short_kernel(CAST, 40)
    assert len(short) == 40
    assert short.startswith("at::native::vectorized") and short.endswith("char*, 3> >")


@given(st.text(max_size=200), st.integers(8, 80))
def test_no_kernel_is_longer_than_asked(name: str, longest: int) -> None:
    assert len(short_kernel(name, longest)) <= longest


def test_names_that_would_look_alike_show_where_they_differ() -> None:
    products = [
        f"void cutlass::Kernel2<cutlass_80_tensorop_{way}_{size}x128_32x3_nn_align8>(Params)"
        for way in ("bf16_s16816gemm_relu_bf16", "f16_s16816gemm_f16")
        for size in (64, 256)
    ]
    short = short_names(products, 40)
    assert len(set(short.values())) == 4
    assert all(len(text) <= 40 for text in short.values())
    assert ["_64x" in text for text in short.values()] == [True, False] * 2
    # What differs in its parameters alone keeps them.
    one, other = "void k<4>(int, float*)", "void k<4>(int, double*)"
    assert short_names([one, other, "gemm"]) == {
        one: "k<4>(int, float*)", other: "k<4>(int, double*)", "gemm": "gemm"
    }  # fmt: skip
    assert short_names(["gemm", NCCL]) == {"gemm": "gemm", NCCL: short_kernel(NCCL)}


def test_names_that_differ_only_where_there_is_no_room_are_numbered() -> None:
    names = ["a" * 100 + "".join(end) + "b" * 100 for end in ("x", "xx", "xxx")]
    short = list(short_names(names, 12).values())
    assert len(set(short)) == 3 and all(len(text) <= 12 for text in short)


@given(st.lists(st.text("ab<>(), ", max_size=60), unique=True, max_size=12), st.integers(12, 40))
def test_no_two_names_look_alike_and_none_is_longer_than_asked(
    names: list[str], longest: int
) -> None:
    short = short_names(names, longest)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(text) <= longest for text in short.values())


def test_titles() -> None:
    assert report_title(host_report()) == "cpu.json"
    assert report_title(gpus_report(4)) == "rank0.json.gz and 3 more"
    assert report_title(replace(host_report(), files=[])) == "no file"
    assert report_title(replace(host_report(), files=["a/r/0.json", "a/r/1.json"])) == "r"
    assert report_title(replace(host_report(), files=["a/0.json", "b/1.json"])) == (
        "0.json and 1 more"
    )


def test_a_trace_of_the_host_counts_operators() -> None:
    assert work_noun(host_report()) == "operators"
    assert work_noun(gpus_report()) == work_noun(empty_report()) == "kernels"


def test_subject_says_what_was_read() -> None:
    assert subject_sentence(gpus_report(4)) == (
        "PyTorch (Kineto) JSON, 4 files, 4.94 M events, 4 ranks, on NVIDIA A100-SXM4-80GB, "
        "read and analysed in 2.50 s"
    )
    missing = replace(gpus_report(4), world_size=8)
    assert "4 ranks of 8" in subject_sentence(missing)
    assert "rank" not in subject_sentence(devices_report())


def test_headline_of_several_devices() -> None:
    # Communication not hidden: (0.15 + 0.05) / 2; busy: (0.77 + 0.67) / 2.
    assert headline(gpus_report(2)) == (
        "2 devices, 1.00 s each: busy for 72 % of the time (computing 60 %, communicating with "
        "nothing computed 10 %), idle for 28 %."
    )


def test_headline_of_one_device_and_of_none() -> None:
    assert headline(host_report()) == (
        "In 1.00 s rank 0 is busy for 90 % of the time (computing 90 %), idle for 10 %."
    )
    assert headline(empty_report()) == "Nothing was found that took time."


def titles(table: Table) -> list[str]:
    return [column.title for column in table.columns]


def texts(table: Table) -> list[list[str]]:
    """The rows as text, what stands below a figure on a line of its own."""
    return [
        [
            "\n".join(filter(None, (cell.value, cell.below)))
            for cell in map(row.cell, range(len(table.columns)))
        ]
        for row in table.rows
    ]


def labels(count: int) -> list[str]:
    return [f"rank {number}" for number in range(count)]


def test_few_devices_have_a_column_each() -> None:
    measure = Measure("Busy", [0.5, None], milliseconds, [1.0, 1.0])
    grid = device_table("ms", labels(2), [measure])
    assert titles(grid) == ["ms", "rank 0", "rank 1"]
    assert texts(grid) == [["Busy", "500 (50 %)", units.ABSENT]]


def test_many_devices_are_told_by_mean_and_extremes() -> None:
    values = [0.1] * MOST_COLUMNS + [0.4]
    grid = device_table("ms", labels(9), [Measure("Busy", values, milliseconds, [1.0] * 9)])
    assert titles(grid) == ["ms", "Mean", "Least", "Most"]
    # (8 · 0.1 + 0.4) / 9 = 0.1333
    assert texts(grid) == [["Busy", "133 (13 %)", "100 (10 %)\nrank 0", "400 (40 %)\nrank 8"]]


def test_where_all_are_alike_no_device_is_named() -> None:
    grid = device_table("ms", labels(9), [Measure("Busy", [0.1] * 9, milliseconds)])
    assert texts(grid) == [["Busy", "100", "100", "100"]]


def test_the_mean_is_over_devices_that_have_the_figure() -> None:
    values = [None] * 8 + [0.2, 0.4]
    grid = device_table("ms", labels(10), [Measure("Busy", values, milliseconds, [1.0] * 10)])
    assert texts(grid)[0][1] == "300 (30 %)"


def test_a_figure_that_no_device_has_is_left_out_of_many() -> None:
    grid = device_table("ms", labels(9), [Measure("Busy", [None] * 9, milliseconds)])
    assert texts(grid) == []


def test_every_device_has_a_row() -> None:
    grid = every_device("ms", labels(2), [Measure("Busy", [0.1, 0.2], milliseconds)])
    assert titles(grid) == ["ms", "Busy"]
    assert texts(grid) == [["rank 0", "100"], ["rank 1", "200"]]


def test_a_whole_of_nothing_has_no_share() -> None:
    assert Measure("Busy", [0.0], milliseconds, [0.0]).text(0) == "0"
