"""Prompts to vectors: a CLIP tokenizer trained on captions, and the encoder's two outputs."""

import json
from collections.abc import Iterable

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer


def train_tokenizer(captions: Iterable[str], *, vocabulary: int, max_tokens: int) -> CLIPTokenizer:
    """A `CLIPTokenizer` learnt from captions, laid out as CLIP's: bytes, bytes that end a word, merges, start, end.

    Every byte has a token, so that words it never saw are spelt out and nothing is unknown.
    """
    learnt = CLIPTokenizer().train_new_from_iterator([list(captions)], vocab_size=vocabulary)
    merges = [tuple(pair) for pair in json.loads(learnt.backend_tokenizer.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_tokens)


def tokenize(prompts: list[str], tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids, b n; the tokens for start and end are letters like others where somebody types them."""
    return tokenizer(
        prompts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        split_special_tokens=True,
        return_tensors="pt",
    ).input_ids


@torch.no_grad()
def encode_prompts(
    prompts: list[str], tokenizer: CLIPTokenizer, encoder: CLIPTextModel, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """A vector a token, b n d, and a vector a prompt, b d; what does not fit the encoder is cut off at the end.

    device  where the encoder works, where that is not where its weights are
    """
    output = encoder(tokenize(prompts, tokenizer).to(device or encoder.device))
    return output.last_hidden_state, output.pooler_output
