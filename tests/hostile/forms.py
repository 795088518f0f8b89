"""A strategy for uploads as forms: parts that are there twice, unnamed, odd, or not ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from benchmarks.fuzz.bodies import Asked
from benchmarks.fuzz.mutations import TEXTS

_EDGE = "edge"
_NAMES = ("model", "vocabulary", "options", "config", "held_out", "other", "", "model[]", "モデル")
_FILES = (
    None, None, "m.pt", "", "../../m.pt", "C:\\m.pt", "m\0.pt", 'a"b', "x" * 3000, "\u202etp.m",
    "UTF-8''m", "con", "m.pt; name=options",
)  # fmt: skip
_MORE = (
    "", "", "", "Content-Type: text/plain; charset=utf-99\r\n", "Content-Length: 99\r\n",
    "Content-Transfer-Encoding: base64\r\n", "X: " + "y" * 9000 + "\r\n", "broken\r\n",
    "Content-Disposition: form-data; name=again\r\n", ": \r\n",
)  # fmt: skip
_TYPES = (
    *(f"multipart/form-data; boundary={_EDGE}",) * 4,
    f'multipart/form-data; boundary="{_EDGE}"; charset=latin-1',
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=other",
    "multipart/mixed; boundary=edge",
    "application/x-www-form-urlencoded",
    "application/json",
    "",
)


@st.composite
def forms(draw: st.DrawFn, good: Mapping[str, Sequence[bytes]], paths: Sequence[str]) -> Asked:
    """Requests with a form.

    Args:
        draw: of the strategy.
        good: content of its fields, by name.
        paths: that it may be sent to.
    """
    contents = [each for field in good.values() for each in field]
    parts = []
    for name in draw(st.permutations(sorted(good))):
        for _ in range(draw(st.sampled_from((1, 1, 1, 1, 0, 2)))):
            content = draw(
                st.sampled_from([*good[name], *good[name], *contents, b"", b"\r\n--edge"])
            )
            parts.append(_part(draw, name, content))
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(_NAMES))
        parts += [_part(draw, name, b"x")] * draw(st.sampled_from((1, 2, 1200)))
    end = draw(
        st.sampled_from((b"--edge--\r\n",) * 4 + (b"", b"--edge", b"--edge--\r\nmore", b"--"))
    )
    return Asked(
        "POST",
        draw(st.sampled_from(paths)),
        b"".join(parts) + end,
        {"content-type": draw(st.sampled_from(_TYPES))},
    )


def _part(draw: st.DrawFn, field: str, content: bytes) -> bytes:
    if draw(st.integers(0, 4)):  # most parts are as they should be
        file = "" if field in ("options", "variations") else '; filename="f"'
        head = f'Content-Disposition: form-data; name="{field}"{file}\r\n'
    else:
        name = draw(st.sampled_from([*_NAMES, field, *TEXTS]))
        file = draw(st.sampled_from(_FILES))
        kind = draw(st.sampled_from(("form-data", "form-data", "attachment", "")))
        head = f'Content-Disposition: {kind}; name="{name}"'
        head += ("" if file is None else f'; filename="{file}"') + "\r\n"
        head += draw(st.sampled_from(_MORE))
    return f"--{_EDGE}\r\n{head}\r\n".encode(errors="surrogatepass") + content + b"\r\n"
