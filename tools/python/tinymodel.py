"""Write a tiny llama model with random weights as a GGUF file.

The file holds no knowledge: its text is noise. It exists so that tests can put
a real inference engine behind the load generator: real tokenizer, real KV
cache, real continuous batching, in a file of about a megabyte. The same seed
gives the same bytes.

    python tinymodel.py PATH [--seed N]
"""

import argparse
import os

import gguf
import numpy as np

CONTEXT = 8192  # positions the model claims to be trained for
EMBED = 64
LAYERS = 2
HEADS = 4
FEED_FORWARD = 128
SPACE = "\u2581"  # how a SentencePiece vocabulary writes a blank

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def vocabulary():
    """Return the tokens and their types: 3 special, 256 bytes, printable text.

    The engine needs the byte tokens to encode any input. Syllables are merged
    from their letters by score, as in a SentencePiece vocabulary.
    """
    kind = gguf.TokenType
    special = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    bytes_ = [(f"<0x{b:02X}>", kind.BYTE) for b in range(256)]
    syllables = [c + v for c in "bcdfghjklmnpqrstvwxz" for v in "aeiou"]
    letters = [chr(c) for c in range(0x21, 0x7F)] + [SPACE]
    text = [SPACE + s for s in syllables] + syllables + letters
    return special + bytes_ + [(t, kind.NORMAL) for t in text]


def write(path, seed):
    tokens = vocabulary()
    size = len(tokens)
    rng = np.random.default_rng(seed)

    def random(*shape):
        return rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))

    # Rows of the output matrix that are zero give a logit of zero, which never
    # wins: so every generated token is printable text and one stream event. The
    # row of </s> is doubled so that a stream ends early unless ignore_eos holds.
    output = random(size, EMBED) * 4
    for i, (_, kind) in enumerate(tokens):
        if kind != gguf.TokenType.NORMAL:
            output[i] = 0
    output[2] = random(EMBED) * 8

    w = gguf.GGUFWriter(path, "llama")
    w.add_name("tiny-random-llama")
    w.add_context_length(CONTEXT)
    w.add_embedding_length(EMBED)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FEED_FORWARD)
    w.add_head_count(HEADS)
    w.add_head_count_kv(HEADS)
    w.add_rope_dimension_count(EMBED // HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(size)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)

    w.add_tokenizer_model("llama")
    w.add_token_list([t for t, _ in tokens])
    w.add_token_scores([-float(i) for i in range(size)])
    w.add_token_types([k for _, k in tokens])
    w.add_unk_token_id(0)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)

    w.add_tensor("token_embd.weight", random(size, EMBED))
    for i in range(LAYERS):
        b = f"blk.{i}."
        w.add_tensor(b + "attn_norm.weight", np.ones(EMBED, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            w.add_tensor(f"{b}{name}.weight", random(EMBED, EMBED))
        w.add_tensor(b + "ffn_norm.weight", np.ones(EMBED, np.float32))
        w.add_tensor(b + "ffn_gate.weight", random(FEED_FORWARD, EMBED))
        w.add_tensor(b + "ffn_up.weight", random(FEED_FORWARD, EMBED))
        w.add_tensor(b + "ffn_down.weight", random(EMBED, FEED_FORWARD))
    w.add_tensor("output_norm.weight", np.ones(EMBED, np.float32))
    w.add_tensor("output.weight", output)

    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("path")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    part = f"{a.path}.{os.getpid()}.part"  # renamed when whole: readers never see half a file
    write(part, a.seed)
    os.replace(part, a.path)


if __name__ == "__main__":
    main()
