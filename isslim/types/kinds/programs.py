"""Code for the card: a few lines with which a program of the reader's own uses a bundle's files.

They run in the bundle's folder. Tests take them out of cards and of `docs/use-in-your-program.md`,
and run them.
"""

from __future__ import annotations

import re

from isslim.types.kinds.description import Program, Served
from isslim.types.kinds.own_class import own_class_program, own_module_program

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
    """Scores and continues a text with the graph; scores and trains on it with PyTorch.

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
    programs = [Program("ONNX Runtime", ("onnxruntime", "tokenizers"), code)]
    if served.has_weights:
        code = _LANGUAGE_TORCH.format(text=_literal(EXAMPLE_TEXT), start=first)
        programs.append(Program("PyTorch", ("isslim[worker]",), code))
    if served.same_form is not None:
        programs.append(own_class_program(served.same_form))
    return tuple(programs)


_LANGUAGE_TORCH = """\
import isslim.torch
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

tokenizer = Tokenizer.from_file("tokenizer.json")
model = isslim.torch.load(".")  # an ordinary module, in evaluation mode
ids = tokenizer.encode({text}, add_special_tokens=False).ids
{start}tokens = torch.tensor(ids)[:, None]  # (steps, batch)


def loss():
    logits, _ = model(tokens[:-1], model.zero_state(1))
    return cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())


print("perplexity", loss().exp().item())
model.train()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()
model.eval()
print("after three steps on this text", loss().exp().item())
"""


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


_QUESTIONS_TORCH = """\
from pathlib import Path

import isslim.torch
import torch
from isslim.runtime.questions.question_tokenizer import PassageCodec, tokenize
from isslim.runtime.questions.spans import best_spans

codec = PassageCodec.from_folder(Path("."))
model = isslim.torch.load(".")  # an ordinary module, in evaluation mode


def encode(text):
    vectors, characters = codec.encode([token.text for token in tokenize(text)])
    inputs = (torch.from_numpy(vectors)[:, None], torch.from_numpy(characters)[:, None])
    return (*inputs, torch.tensor([len(vectors)]))


context = "The river Wye rises in Wales and flows into the Severn."
with torch.no_grad():
    starts, ends = model(*encode(context), *encode("Where does the Wye rise?"))
(best,) = best_spans(starts[0].numpy(), ends[0].numpy(), max_tokens=30)
tokens = tokenize(context)
print(context[tokens[best.start].start : tokens[best.end].end])
"""


def question_programs(served: Served) -> tuple[Program, ...]:
    """Answers a question as the service does.

    Args:
        served: a question answering model.
    """
    code = _QUESTIONS.format(file=served.file)
    programs = [Program("ONNX Runtime", ("isslim[service]",), code)]
    if served.has_weights:
        programs.append(Program("PyTorch", ("isslim[worker]",), _QUESTIONS_TORCH))
    return tuple(programs)


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
    programs = [Program("ONNX Runtime", ("onnxruntime",), code)]
    if served.same_form is not None:
        programs.append(own_module_program(served.same_form))
    return tuple(programs)


def _literal(text: str) -> str:
    """A Python string; in double quotes where nothing has to be escaped."""
    return f'"{text}"' if re.fullmatch(r"[\w<>./ -]*", text, re.ASCII) else repr(text)
