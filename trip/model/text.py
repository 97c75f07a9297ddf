"""Prompts to vectors: a CLIP tokenizer trained on captions, and the encoder's two outputs.

An encoder reads so many tokens and no more. Of a longer prompt the parts that tell of motion are kept, whole, and as much of the rest as
fits; what is left out is told.
"""

import json
import re
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


CLOSED_VOCABULARY = 10_000  # tokens: a smaller one was learnt from captions of motions, CLIP's has 49,408


def reads_whole(word: str, tokenizer: CLIPTokenizer) -> bool:
    """Whether a word is one token: the encoder has seen it often, and does not spell it."""
    return tokenizer.convert_tokens_to_ids(f"{word}</w>") != tokenizer.unk_token_id


# Beginnings of words that tell how something moves
_MOVING = re.compile(
    r"\b(camera|pan(s|ned|ning)?\b|tilt|zoom|roll(s|ing)?\b|rotat|spin(s|ning)\b|turn(s|ing)\b|dolly|truck(s|ing)\b|track(s|ing)\b|orbit|parallax|mov(e|ing)"
    r"|motion|static\b|drift|float|flow(s|ing)\b|sail(s|ing)\b|slid|glid|rippl|waves\b|swell|flicker|leap|danc|burn|rise|rising|fall(s|ing)"
    r"|sway|rustl|blow|swirl|snow(s|ing|fall|flakes)\b|rain(s|ing|fall|drops)\b|pour|darken|dims\b|dimming|fade|fading|push(es)? in\b"
    r"|pulls? back\b|approach|closer\b|(for|back|up|down)wards?\b|(counter|anti)?clockwise|left\b|right\b|nothing changes"
    r"|still\b|frozen|look(s|ing)? (up|down)\b|view\b|widen|grow(s|ing)\b|shrink|trembl|goes (up|down)\b|billow|comes? down\b"
    r"|(fall|shower) of|gets\b|darker|darkness|slowly|quickly|rapidly|gently)",
    re.IGNORECASE,
)
_CLAUSE, _PIECE = re.compile(r"[^.;,:!?\n]*[.;,:!?\n]*\s*"), re.compile(r"\S+\s*(?:(?!(?:while|then|and|as|the camera)\b)\S+\s*){0,6}")
_EXCERPT_LENGTH = 200  # characters of what is left out that a note repeats


def fitted_prompt(prompt: str, tokenizer: CLIPTokenizer) -> tuple[str, str]:
    """What of a prompt is read, and what is not: all and nothing where it fits."""
    if _num_tokens(prompt, tokenizer) <= tokenizer.model_max_length:
        return prompt, ""
    pieces = []
    for clause in filter(None, _CLAUSE.findall(prompt)):
        whole = _num_tokens(clause, tokenizer) <= tokenizer.model_max_length // 2
        pieces += [clause] if whole else _PIECE.findall(clause)
    moving = [index for index, piece in enumerate(pieces) if _MOVING.search(piece)]
    kept: set[int] = set()
    for index in [*moving, *(index for index in range(len(pieces)) if index not in set(moving))]:
        if _num_tokens(_joined(pieces, kept | {index}), tokenizer) <= tokenizer.model_max_length:
            kept.add(index)
        elif index not in moving:  # the rest is read from its beginning on
            break
    if not kept:  # one word that is longer than all: cut where the tokens end
        ids = tokenizer(prompt, truncation=False, verbose=False, split_special_tokens=True).input_ids[1:-1]
        read = tokenizer.decode(ids[: tokenizer.model_max_length - 2])
        return prompt, tokenizer.decode(ids[tokenizer.model_max_length - 2 :]) or prompt.removeprefix(read)
    return _joined(pieces, kept), " … ".join(_runs(pieces, kept))


def truncation_note(title: str, prompt: str, tokenizer: CLIPTokenizer) -> str:
    """A line about what of a prompt is not read; empty where all of it is."""
    rest = fitted_prompt(prompt, tokenizer)[1]
    if not rest:
        return ""
    excerpt = rest if len(rest) <= _EXCERPT_LENGTH else f"{rest[:_EXCERPT_LENGTH]} …"
    count = _num_tokens(prompt, tokenizer) - 2
    return (
        f"{title}: the model reads {tokenizer.model_max_length - 2} tokens, and this has {count}; not read: “{' '.join(excerpt.split())}”"
    )


def _num_tokens(text: str, tokenizer: CLIPTokenizer) -> int:
    """Tokens of a text, start and end included."""
    return len(tokenizer(text, truncation=False, verbose=False, split_special_tokens=True).input_ids)


def _joined(pieces: list[str], chosen: set[int]) -> str:
    """Chosen pieces in their order, with a comma where something between them is left out."""
    text, before = "", -1
    for index in sorted(chosen):
        is_apart = text and index > before + 1 and text.rstrip()[-1] not in ".;,:!?"
        text, before = (f"{text.rstrip()}, " if is_apart else text) + pieces[index], index
    return text.strip()


def _runs(pieces: list[str], kept: set[int]) -> Iterable[str]:
    """What was left out, in runs of neighbours."""
    run: list[str] = []
    for index, piece in [*enumerate(pieces), (-1, "")]:
        if index != -1 and index not in kept:
            run.append(piece)
        elif run:
            yield "".join(run).strip()
            run = []


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
    """A vector a token, b n d, and a vector a prompt, b d; of what does not fit the encoder, what `fitted_prompt` keeps.

    device  where the encoder works, where that is not where its weights are
    """
    read = [fitted_prompt(prompt, tokenizer)[0] for prompt in prompts]
    output = encoder(tokenize(read, tokenizer).to(device or encoder.device))
    return output.last_hidden_state, output.pooler_output
