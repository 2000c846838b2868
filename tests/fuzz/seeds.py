"""Small whole inputs in the formats that are read; each is one file of a folder, made here."""

import csv
import gzip
import io
import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from tests.fuzz.target import Seed
from tests.gemm.own_sources import source
from tests.golden.commands import INPUTS
from tests.models import tiny, tiny_encoders
from tests.trace.readers import nsys_json_files, rocprof_files
from tests.trace.readers.kineto_files import training_trace

FILES, RECORDS = INPUTS / "files", INPUTS / "records"
CASES = Path(__file__).parents[1] / "trace" / "cases"


def alone(path: Path, name: str = "") -> Seed:
    """A file that stands alone."""
    name = name or path.name
    return Seed(path.name, {name: path.read_bytes()}, name)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": tiny.GPT2,
    "llama": tiny.LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "mistral": tiny.MISTRAL,
    "qwen2": tiny.QWEN2 | {"use_sliding_window": True, "max_window_layers": 1},
    "qwen3": tiny.QWEN3,
    "bert": tiny_encoders.BERT | {"id2label": {"0": "a", "1": "b"}},
    "gemma2": tiny.LLAMA | {"model_type": "gemma2", "head_dim": 16, "sliding_window": 8},
    "mixtral": tiny.LLAMA
    | {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": tiny.LLAMA
    | {
        "model_type": "qwen2_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "mlp_only_layers": [0],
    },
    "t5": {
        "model_type": "t5",
        "d_model": 32,
        "d_ff": 64,
        "d_kv": 8,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 100,
        "feed_forward_proj": "gated-gelu",
    },
    "vit": {
        "model_type": "vit",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    },
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 2],
        "layer_type": "bottleneck",
    },
    # Counted by running their modules.
    "deepseek_v3": tiny.LLAMA
    | {
        "model_type": "deepseek_v3",
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_nope_head_dim": 4,
        "qk_rope_head_dim": 4,
        "v_head_dim": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 8,
    },
    "mamba": {
        "model_type": "mamba",
        "hidden_size": 32,
        "state_size": 4,
        "num_hidden_layers": 2,
        "vocab_size": 100,
    },
}


def configs() -> list[Seed]:
    """A `config.json` of each family."""
    more = {"architectures": ["Any"], "torch_dtype": "float16", "tie_word_embeddings": True}
    return [
        Seed(name, {"config.json": _json(config | more)}, "config.json")
        for name, config in CONFIGS.items()
    ]


def _folder(fields: dict[str, Any]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = tiny.write_model(Path(folder) / "model", fields)
        return {file.name: file.read_bytes() for file in path.iterdir()}


def weights() -> list[Seed]:
    """A model's folder of which the weights, or the index of their shards, are damaged."""
    small = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 40, "n_positions": 16}
    files = _folder(tiny.GPT2 | small)
    header_bytes = int.from_bytes(files["model.safetensors"][:8], "little")
    names = json.loads(files["model.safetensors"][8 : 8 + header_bytes])
    index = {
        "metadata": {"total_size": 1},
        "weight_map": {name: "shard.safetensors" for name in names if name != "__metadata__"},
    }
    sharded = {
        "config.json": files["config.json"],
        "shard.safetensors": files["model.safetensors"],
        "model.safetensors.index.json": _json(index),
    }
    return [
        Seed("safetensors", files, "model.safetensors"),
        Seed("index", sharded, "model.safetensors.index.json"),
    ]


def headers() -> list[Seed]:
    """The header of a safetensors file as JSON, which `with_header` puts before the data."""
    (seed, *_) = weights()
    data = seed.files["model.safetensors"]
    end = 8 + int.from_bytes(data[:8], "little")
    files = seed.files | {"header.json": data[8:end], "data": data[end:]}
    return [Seed("header", files, "header.json")]


def _byte_level() -> tuple[dict[str, int], list[str]]:
    """A vocabulary of letters and two merges, and the merges."""
    vocabulary = {chr(code): code - 33 for code in range(33, 127)}
    vocabulary |= {"Ġ": 94, "th": 95, "the": 96, "<|end|>": 97}
    return vocabulary, ["t h", "th e"]


def tokenizers() -> list[Seed]:
    """tokenizer.json of byte-level BPE and of WordPiece, vocab.json with merges.txt."""
    vocabulary, merges = _byte_level()
    fields = tiny.GPT2 | {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 98}
    files = _folder(fields | {"bos_token_id": 97, "eos_token_id": 97})
    files["generation_config.json"] = _json({"eos_token_id": [97]})
    special = {"id": 97, "content": "<|end|>", "special": True, "normalized": False}
    special |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": level | {"use_regex": True},
        "post_processor": level | {"use_regex": True},
        "decoder": level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
    pieces = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "th": 3, "##e": 4}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    words = whole | {
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": True}
        | {"handle_chinese_chars": True, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": model | {"max_input_chars_per_word": 100, "vocab": pieces},
    }
    bare = files | {
        "vocab.json": _json(vocabulary),
        "merges.txt": ("#version: 0.2\n" + "\n".join(merges)).encode(),
    }
    return [
        Seed("bpe", files | {"tokenizer.json": _json(whole)}, "tokenizer.json"),
        Seed("wordpiece", files | {"tokenizer.json": _json(words)}, "tokenizer.json"),
        Seed("vocab", bare, "vocab.json"),
        Seed("merges", bare, "merges.txt"),
        Seed("generation", bare, "generation_config.json"),
    ]


def kineto() -> list[Seed]:
    """New and old traces of a step of training, and gzip of one."""
    found = []
    for old in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rank0.json"
            training_trace(old=old, steps=1, layers=1).save(path)
            found.append(Seed(f"kineto-{old}", {path.name: path.read_bytes()}, path.name))
    packed = gzip.compress(found[0].files["rank0.json"], mtime=0)
    others = [alone(CASES / f"t12_{maker}.json") for maker in ("hpu", "mtia")]
    return [*found, *others, Seed("kineto-gzip", {"rank0.json.gz": packed}, "rank0.json.gz")]


def lanes() -> list[Seed]:
    """Traces without categories: of JAX, of rocprof, and of PyTorch before Kineto."""
    return [alone(CASES / f"{name}.json") for name in ("t9_jax", "t10_rocprof", "t11_legacy")]


def rocprofv3() -> list[Seed]:
    """JSON of rocprofv3."""
    return [Seed("rocprofv3", {"results.json": _json(rocprof_files.whole())}, "results.json")]


def nsys_lines() -> list[Seed]:
    """JSON of Nsight Systems, names in one line or each in its own."""
    forms = {"whole": nsys_json_files.WHOLE, "apart": nsys_json_files.APART}
    texts = {
        name: "".join(json.dumps(line) + "\n" for line in [*nsys_json_files.EVENTS, *names])
        for name, names in forms.items()
    }
    return [Seed(name, {"r.json": text.encode()}, "r.json") for name, text in texts.items()]


def tables() -> list[Seed]:
    """CSV of nvprof, of Nsight Systems and of rocprof."""
    rocprof = {
        "1_kernel_trace.csv": rocprof_files.KERNELS,
        "1_memory_copy_trace.csv": rocprof_files.COPIES,
        "1_kernel_stats.csv": rocprof_files.STATS,
        "results.csv": rocprof_files.FIRST_VERSION,
    }
    unified = sorted((CASES.parent / "readers" / "recorded").glob("nvprof_unified*.csv"))
    return [
        *(alone(path) for path in [*sorted(FILES.glob("n*.csv")), *unified]),
        *(Seed(name, {name: text.encode()}, name) for name, text in rocprof.items()),
    ]


def databases() -> list[Seed]:
    """An export of Nsight Systems, and one with a view, a trigger and values of other types."""
    script = (FILES / "nsys_export.sql").read_text()
    odd = (
        "CREATE VIEW more AS SELECT * FROM StringIds;"
        "INSERT INTO StringIds VALUES (900000, x'00ff'), (900001, 1.5);"
        "UPDATE CUPTI_ACTIVITY_KIND_MEMSET SET bytes = 1e308, start = 'soon';"
    )
    found = []
    for name, statements in (("export", script), ("odd", f"{script};{odd}")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export.sqlite"
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(statements)
                connection.commit()
            found.append(Seed(name, {path.name: path.read_bytes()}, path.name))
    return found


def records() -> list[Seed]:
    """A record of each kind; large ones would only slow the rest down."""
    paths = [path for path in sorted(RECORDS.glob("*.json")) if path.stat().st_size < 40_000]
    return [alone(path, "run.json") for path in paths]


def machines() -> list[Seed]:
    """A machine of one's own."""
    return [alone(FILES / "machine.json")]


def climbs() -> list[Seed]:
    """The folder of a climb, of which the record or the request is damaged."""
    request = {"model": "bundled", "seed": 0, "rungs": ["static_cache"], "max_loss": 0.01}
    files = {
        "run.json": (RECORDS / "climb-fruitless.json").read_bytes(),
        "request.json": _json(request),
    }
    return [Seed("request", files, "request.json"), Seed("climb", files, "run.json")]


def sources() -> list[Seed]:
    """A matrix product of one's own."""
    text = "// topout: dtype fp32\n#include <vector>\nconstexpr int kRows = 4 * 2;\n" + source()
    return [Seed("source", {"my_gemm.cpp": text.encode()}, "my_gemm.cpp")]


def rows() -> list[Seed]:
    """Rows of text with labels in each format."""
    table = [{"text": f"the text {n}", "label": f"{n % 3}"} for n in range(12)]
    lines = "\n".join(json.dumps(row) for row in table)
    written = io.StringIO()
    writer = csv.DictWriter(written, ["text", "label"])
    writer.writeheader()
    writer.writerows(table)
    parquet = io.BytesIO()
    pl.DataFrame(table).write_parquet(parquet)
    texts = {
        "rows.jsonl": lines.encode(),
        "rows.csv": written.getvalue().encode(),
        "rows.tsv": written.getvalue().replace(",", "\t").encode(),
        "rows.parquet": parquet.getvalue(),
        "rows.txt": b"Text of some lines,\nwhich is one row.\n",
    }
    return [Seed(name, {name: data}, name) for name, data in texts.items()]


def rules() -> list[Seed]:
    """Groups of kernels of one's own."""
    text = 'extends = true\n[[rule]]\ngroup = "mine"\nnames = ["gemm"]\npatterns = ["^ampere_"]\n'
    return [Seed("rules", {"rules.toml": text.encode()}, "rules.toml")]
