"""Prompts of any kind become vectors, and words that the encoder knows still count among those it does not."""

import pytest
import torch
from transformers import CLIPTokenizer

from trip.data.prompts import MOTIONS
from trip.model.build import build_text_encoder
from trip.model.text import encode_prompts, fitted_prompt, reads_whole, train_tokenizer, truncation_note
from trip.settings import PRESETS

CAPTIONS = ["the camera pans right", "the camera pans left", "the clouds drift to the left", "slow waves roll in"]
STRANGE = {
    "unknown words": "xylophone qwertyuiop zzz",
    "accents": "die Wolken ziehen über Zürich, naïve façade",
    "other scripts": "雲が左へ流れる облака плывут السحب",
    "emoji": "clouds ☁️ drift 👩‍👩‍👧‍👦 \U0001f680",
    "control characters": "the\x00camera\x07\u200bpans\ufeff",
    "brackets": "<|start|> </w> <unk> [MASK] {0} %s \\n",
    "empty": "",
    "blanks": " \t\n ",
    "long": "the clouds drift " * 300,
    "one long word": "a" * 5000,
}


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(CAPTIONS * 5, vocabulary=600, max_tokens=16)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    torch.manual_seed(0)
    return build_text_encoder(PRESETS["tiny"].model, len(tokenizer)).eval()


def ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    return tokenizer(text, padding="max_length", max_length=16, truncation=True).input_ids


@pytest.mark.parametrize("prompt", STRANGE.values(), ids=STRANGE.keys())
def test_any_prompt_has_vectors(tokenizer, encoder, prompt):
    words, sentence = encode_prompts([prompt, CAPTIONS[0]], tokenizer, encoder)
    assert words.shape == (2, 16, 16) and sentence.shape == (2, 16)
    assert words.isfinite().all() and sentence.isfinite().all()


@pytest.mark.parametrize("prompt", [*STRANGE.values(), *CAPTIONS], ids=[*STRANGE.keys(), *CAPTIONS])
def test_the_end_token_never_appears_inside_a_text(tokenizer, prompt):
    """It would end the sentence for the encoder, and stand for what is unknown: here nothing is."""
    text = tokenizer(prompt, add_special_tokens=False).input_ids
    assert tokenizer.eos_token_id not in text and tokenizer.bos_token_id not in text
    assert max(text, default=0) < len(tokenizer)


def test_an_end_token_that_somebody_types_does_not_end_the_text(tokenizer, encoder):
    prompts = ["<|endoftext|> right", "<|endoftext|> left"]
    assert [fitted_prompt(prompt, tokenizer) for prompt in prompts] == [(prompt, "") for prompt in prompts]
    _, sentences = encode_prompts(prompts, tokenizer, encoder)
    assert not torch.allclose(sentences[0], sentences[1], atol=1e-4)
    assert "tokens, and this has 26; not read: " in truncation_note("Prompt", "<|endoftext|>" * 2, tokenizer)


@pytest.mark.parametrize("strange", ["xylophone", "Zürich", "雲", "\U0001f680"])
def test_known_words_keep_their_tokens_beside_unknown_ones(tokenizer, strange):
    pans_right = tokenizer("pans right", add_special_tokens=False).input_ids
    assert len(pans_right) == 2, "words of the captions are a token each"
    text = ids(tokenizer, f"{strange} pans right")
    assert any(text[i : i + 2] == pans_right for i in range(len(text)))


def test_known_words_still_count_beside_unknown_ones(tokenizer, encoder):
    prompts = ["the xylophone pans right", "the xylophone pans left"]
    _, sentences = encode_prompts(prompts, tokenizer, encoder)
    assert not torch.allclose(sentences[0], sentences[1], atol=1e-4)


def test_words_of_the_captions_are_read_whole(tokenizer):
    assert [word for word in ("camera", "xylophone", "clouds", "cloud") if reads_whole(word, tokenizer)] == ["camera", "clouds"]


def test_unknown_words_differ_from_each_other(tokenizer):
    assert ids(tokenizer, "qzx") != ids(tokenizer, "xzq")


def test_a_text_has_its_start_its_end_and_the_encoders_length(tokenizer):
    short, empty, long = (ids(tokenizer, text) for text in (CAPTIONS[0], "", STRANGE["long"]))
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert len(short) == len(empty) == len(long) == 16
    assert short[0] == start and short.index(end) == 5 and set(short[5:]) == {end}
    assert empty == [start] + [end] * 15
    assert long[0] == start and long.index(end) == 15


def test_the_sentence_is_read_at_the_texts_own_end(tokenizer, encoder):
    words, sentence = encode_prompts([CAPTIONS[0], ""], tokenizer, encoder)
    assert torch.equal(sentence, torch.stack([words[0, 5], words[1, 1]]))


def test_case_and_blanks_do_not_matter(tokenizer):
    assert ids(tokenizer, "  The CAMERA   pans right ") == ids(tokenizer, "the camera pans right")


def test_start_and_end_are_the_last_of_the_vocabulary(tokenizer):
    """As the encoder's config is told in `build_text_encoder`."""
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (len(tokenizer) - 2, len(tokenizer) - 1)
    assert len(tokenizer) <= 600


def test_a_saved_tokenizer_reads_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == 16
    for text in (*CAPTIONS, *STRANGE.values()):
        assert ids(again, text) == ids(tokenizer, text)


SCENE = "a cup of coffee on a saucer with a small silver spoon on an old wooden table in a cosy cafe"


@pytest.mark.parametrize("place", ["{motion}, {scene}", "{scene}, {motion}", "{scene}. {motion}. {scene}", "{scene} while {motion}"])
def test_the_words_that_move_are_read_wherever_a_long_prompt_has_them(tokenizer, encoder, place):
    prompts = [place.format(scene=SCENE, motion=motion) for motion in CAPTIONS]
    for prompt, motion in zip(prompts, CAPTIONS, strict=True):
        read, rest = fitted_prompt(prompt, tokenizer)
        assert motion in read and rest and len(ids(tokenizer, read)) <= 16
        assert sorted(
            read.replace(",", " ").replace(".", " ").split() + rest.replace(",", " ").replace(".", " ").replace("…", " ").split()
        ) == sorted(prompt.replace(",", " ").replace(".", " ").split())
    _, sentences = encode_prompts(prompts, tokenizer, encoder)
    assert all(not torch.allclose(sentences[0], sentences[index], atol=1e-4) for index in range(1, len(prompts)))


@pytest.mark.parametrize("prompt", CAPTIONS)
def test_a_prompt_that_fits_is_read_as_it_is(tokenizer, prompt):
    assert fitted_prompt(prompt, tokenizer) == (prompt, "") and truncation_note("Prompt", prompt, tokenizer) == ""


@pytest.mark.parametrize("prompt", [SCENE, STRANGE["long"], STRANGE["one long word"], "雲が左へ流れる" * 30])
def test_what_is_not_read_is_told_on_one_line(tokenizer, prompt):
    note = truncation_note("Prompt", prompt, tokenizer)
    assert note.startswith("Prompt: the model reads 14 tokens, and this has ") and "not read: “" in note
    assert "\n" not in note and len(note) < 300


LEFT_OUT = {  # a long prompt -> what of it is read, and what is not
    "the rest is read from its beginning on": (
        "the clouds in the clouds, slow to the slow in, to the in, the camera pans right",
        "the clouds in the clouds, the camera pans right",
        "slow to the slow in, to the in,",
    ),
    "a motion that does not fit keeps out none after it": (
        "the camera pans right, waves roll to the left, slow waves roll in right, drift, the slow clouds",
        "the camera pans right, waves roll to the left, drift,",
        "slow waves roll in right, … the slow clouds",
    ),
    "a clause that is longer than half of what is read is read in parts": (
        "the clouds in the slow clouds in the slow clouds while the camera pans right to the left",
        "the camera pans right to the left",
        "the clouds in the slow clouds in the slow clouds while",
    ),
    "a comma stands where something is left out": (
        "waves roll in the left then clouds to the slow clouds in the camera pans right",
        "waves roll in the left, the camera pans right",
        "then clouds to the slow clouds in",
    ),
    "one word is cut where the tokens end": ("Q" * 100, "Q" * 100, "q" * 86),
}


@pytest.mark.parametrize("prompt, read, rest", LEFT_OUT.values(), ids=LEFT_OUT)
def test_of_a_long_prompt_the_motions_are_read_first_and_what_is_left_out_is_repeated(tokenizer, prompt, read, rest):
    assert fitted_prompt(prompt, tokenizer) == (read, rest)
    count = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    wanted = f"Prompt: the model reads 14 tokens, and this has {count}; not read: “{rest}”"
    assert truncation_note("Prompt", prompt, tokenizer) == wanted


def test_a_note_repeats_two_hundred_letters_of_what_is_not_read(tokenizer):
    rest = fitted_prompt(STRANGE["long"], tokenizer)[1]
    assert truncation_note("Prompt", STRANGE["long"], tokenizer).endswith(f"; not read: “{rest[:200]} …”") and len(rest) > 1000


@pytest.mark.parametrize("name", MOTIONS)
def test_every_wording_of_a_motion_is_read_at_the_end_of_a_long_scene(name):
    tokenizer = train_tokenizer([wording for kind in MOTIONS.values() for wording in kind.wordings], vocabulary=2000, max_tokens=48)
    for wording in MOTIONS[name].wordings:
        motion = " ".join(wording.format(ly="", how="", a="a").split())
        read, rest = fitted_prompt(f"{SCENE}, {SCENE}, {motion}", tokenizer)
        assert rest and motion.partition(",")[0].strip() in read
