"""Write a GGUF model of Llama's architecture with random weights, and its tokenizer.

The text that it generates is noise, but it is as fast as a real model of the same shape, so it can be tuned. Needs the
``local`` extra.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from autotune_nb.errors import SetupError
from autotune_nb.task.sections import RandomWeights

HEAD_SIZE = 64
_VOCABULARY = 2048
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
_BOS, _EOS = "<s>", "</s>"
#: The vocabulary is trained on this, so that English takes a plausible number of tokens.
_TEXT = (
    "Tuning an inference engine means choosing how many requests share a batch, how long a prompt may wait, and how "
    "much memory the cache may hold. A larger batch serves more tokens each second, while every single reader waits "
    "longer for the next word. Whoever runs the service decides what is fast enough; a search over the settings, with "
    "a measurement for each of them, finds out what the machine can give within that bound. "
)


def write_random_model(shape: RandomWeights, folder: Path) -> tuple[Path, Path]:
    """Write ``model.gguf`` and a tokenizer folder below ``folder``, unless they exist already.

    Returns both paths. Raises SetupError if gguf or tokenizers is not installed, or if the folder cannot be written.
    """
    model, tokenizer = folder / "model.gguf", folder / "tokenizer"
    stamp = folder / "shape.json"
    wanted = shape.model_dump_json()
    if stamp.is_file() and stamp.read_text() == wanted and model.is_file():
        return model, tokenizer
    try:
        import gguf
        import tokenizers
    except ImportError as error:
        raise SetupError(
            f"random weights need the package {error.name!r}: pip install 'autotune_nb[local]'",
            field="model.random_weights",
        ) from None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        work.chmod(0o755)
        try:
            trained = _tokenizer(tokenizers)
            _write_tokenizer(trained, work / "tokenizer", shape)
            _write_gguf(gguf, trained, work / "model.gguf", shape)
            (work / "shape.json").write_text(wanted)
            if folder.exists():
                shutil.rmtree(folder)
            work.replace(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise SetupError(f"the model cannot be written to {folder}: {error}", field="model.random_weights") from None
    return model, tokenizer


def _tokenizer(tokenizers: Any) -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_BOS, _EOS],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    return tokenizer


def _write_tokenizer(tokenizer: Any, folder: Path, shape: RandomWeights) -> None:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _BOS,
        "eos_token": _EOS,
        "model_max_length": shape.context_length,
        "chat_template": _TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def _write_gguf(gguf: Any, tokenizer: Any, path: Path, shape: RandomWeights) -> None:
    import numpy as np

    hidden_size, feed_forward_size = shape.hidden_size, shape.feed_forward_size
    heads = hidden_size // HEAD_SIZE
    kv_heads = shape.kv_heads or max(1, heads // 2 if heads % 2 == 0 else heads)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random weights")
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(hidden_size)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(feed_forward_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in (_BOS, _EOS) else normal for token in tokens])
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in merges])
    writer.add_bos_token_id(tokens.index(_BOS))
    writer.add_eos_token_id(tokens.index(_EOS))
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)

    rng = np.random.default_rng(shape.seed)

    def matrix(name: str, rows: int, columns: int) -> None:
        weights = rng.standard_normal((rows, columns), dtype=np.float32) * 0.02
        writer.add_tensor(name, weights.astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(hidden_size, dtype=np.float32))

    matrix("token_embd.weight", len(tokens), hidden_size)
    norm("output_norm.weight")
    matrix("output.weight", len(tokens), hidden_size)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", hidden_size, hidden_size)
        matrix(block + "attn_k.weight", kv_heads * HEAD_SIZE, hidden_size)
        matrix(block + "attn_v.weight", kv_heads * HEAD_SIZE, hidden_size)
        matrix(block + "attn_output.weight", hidden_size, hidden_size)
        matrix(block + "ffn_gate.weight", feed_forward_size, hidden_size)
        matrix(block + "ffn_up.weight", feed_forward_size, hidden_size)
        matrix(block + "ffn_down.weight", hidden_size, feed_forward_size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
