"""Code for the card: a few lines with which a program of the reader's own uses a bundle's files.

They run in the bundle's folder. Tests take them out of cards and of `docs/use-in-your-program.md`,
and run them.
"""

from __future__ import annotations

import re

from isslim.types.kinds.description import Program, Served

EXAMPLE_TEXT = "the old man sees the river"
"""Words of a text to score; a model without an unknown token needs other ones."""


_LANGUAGE = '''\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("{file}")
names = [output.name for output in session.get_outputs()]
sizes = {{each.name: each.shape[-1] for each in session.get_inputs()}}
state = {{
    name: np.zeros((1, 1, size), np.float32)
    for name, size in sizes.items()
    if f"{{name}}_out" in names
}}


def read(ids, state):
    """Log-probabilities of ids[1:] and of every token that may follow, and the state after ids."""
    tokens = np.array(ids, np.int64)[:, None]
    last = np.array([[len(ids) - 1, 0]], np.int64)
    feed = {{"tokens": tokens, "targets": np.roll(tokens, -1, axis=0), "positions": last}}
    feed["lengths"] = np.array([len(ids)], np.int32)
    found = dict(zip(names, session.run(names, feed | state)))
    after = {{name: found[f"{{name}}_out"] for name in state}}
    return found["token_log_probs"][:-1, 0], found["log_probs"][0], after


ids = tokenizer.encode({text}, add_special_tokens=False).ids
{start}scored, following, state = read(ids, state)
print("perplexity", np.exp(-scored.mean()))

for _ in range(10):  # the most likely continuation, the state carried from step to step
    token = int(following.argmax())
    print(tokenizer.id_to_token(token))
    _, following, state = read([token], state)
'''


def language_programs(served: Served) -> tuple[Program, ...]:
    """Scores a text and continues it with the scoring graph.

    Args:
        served: a language model.
    """
    start = served.text.start_token if served.text is not None else None
    first = (
        ""
        if start is None
        else f"ids = [tokenizer.token_to_id({_literal(start)}), *ids]  # what precedes a text\n"
    )
    code = _LANGUAGE.format(file=served.file, text=_literal(EXAMPLE_TEXT), start=first)
    return (Program("ONNX Runtime", ("onnxruntime", "tokenizers"), code),)


_QUESTIONS = """\
from pathlib import Path

from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.question_tokenizer import PassageCodec
from isslim.runtime.questions.session import QuestionSession

codec = PassageCodec.from_folder(Path("."))  # words.txt, vectors.npy and characters.txt
session = QuestionSession(Path("{file}"))
context = "The river Wye rises in Wales and flows into the Severn."
question = tokenize_question("Where does the Wye rise?", context)
for found in answer(session, encode_question(codec, question), top_k=3).answers:
    print(found.text, found.score, context[found.start : found.end])
"""


def question_programs(served: Served) -> tuple[Program, ...]:
    """Answers a question as the service does.

    Args:
        served: a question answering model.
    """
    code = _QUESTIONS.format(file=served.file)
    return (Program("ONNX Runtime", ("isslim[service]",), code),)


_GRAPH = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
recorded = np.load("samples.npz")  # runs that the model was timed on; put your own arrays here
inputs = {{
{inputs}}}
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, inputs)))
for name, array in outputs.items():
    print(name, array.dtype, array.shape)
"""


def graph_programs(served: Served) -> tuple[Program, ...]:
    """Runs a graph on a recorded run; nothing without recorded runs.

    Args:
        served: a graph.
    """
    if not served.inputs:
        return ()
    lines = [
        f"    {_literal(each.name)}: recorded[{_literal(f'0/{each.name}')}],"
        f"  # {each.dtype} {list(each.shape)}\n"
        for each in served.inputs
    ]
    code = _GRAPH.format(file=served.file, inputs="".join(lines))
    return (Program("ONNX Runtime", ("onnxruntime",), code),)


def _literal(text: str) -> str:
    """A Python string; in double quotes where nothing has to be escaped."""
    return f'"{text}"' if re.fullmatch(r"[\w<>./ -]*", text, re.ASCII) else repr(text)
