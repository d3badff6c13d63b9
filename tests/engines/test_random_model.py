"""The model of random weights: it has the requested shape, is written once, and is never left incomplete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines.random_model import write_random_model
from autotune_nb.errors import SetupError
from autotune_nb.task.sections import RandomWeights

gguf = pytest.importorskip("gguf")
TINY = RandomWeights(layers=1, hidden_size=64, feed_forward_size=32, context_length=128)


def fields(model: Path) -> dict[str, Any]:
    return {
        name: field.contents() for name, field in gguf.GGUFReader(model).fields.items() if name.startswith("llama.")
    }


def test_the_file_has_the_requested_shape(tmp_path: Path) -> None:
    shape = RandomWeights(layers=3, hidden_size=256, feed_forward_size=96, kv_heads=2, context_length=512)
    model, _ = write_random_model(shape, tmp_path / "model")
    found = fields(model)
    assert found["llama.block_count"] == 3
    assert found["llama.embedding_length"] == 256
    assert found["llama.feed_forward_length"] == 96
    assert found["llama.attention.head_count"] == 4
    assert found["llama.attention.head_count_kv"] == 2
    assert found["llama.context_length"] == 512


@pytest.mark.parametrize(("width", "kv_heads"), [(64, 1), (128, 1), (192, 3), (256, 2)])
def test_by_default_an_even_number_of_heads_has_half_as_many_kv_heads(
    tmp_path: Path, width: int, kv_heads: int
) -> None:
    shape = TINY.model_copy(update={"hidden_size": width})
    model, _ = write_random_model(shape, tmp_path / "model")
    assert fields(model)["llama.attention.head_count_kv"] == kv_heads


def test_the_tokenizer_is_lossless_and_has_the_models_vocabulary(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model, folder = write_random_model(TINY, tmp_path / "model")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "A larger batch serves more tokens: ünïcödé, 漢字."
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    tokens = gguf.GGUFReader(model).fields["tokenizer.ggml.tokens"].contents()
    assert tokens == [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 128


def test_the_same_shape_is_written_once_and_another_replaces_it(tmp_path: Path) -> None:
    model, _ = write_random_model(TINY, tmp_path / "model")
    first = model.stat().st_ino
    assert write_random_model(TINY, tmp_path / "model")[0].stat().st_ino == first
    write_random_model(TINY.model_copy(update={"layers": 2}), tmp_path / "model")
    assert fields(model)["llama.block_count"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    def weights(seed: int, folder: str) -> bytes:
        return write_random_model(TINY.model_copy(update={"seed": seed}), tmp_path / folder)[0].read_bytes()

    assert weights(1, "a") == weights(1, "b")
    assert weights(1, "a") != weights(2, "c")


def test_the_error_for_a_folder_that_cannot_be_written_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"^model\.random_weights: the model cannot be written") as caught:
        write_random_model(TINY, tmp_path / "file" / "model")
    assert caught.value.field == "model.random_weights"
