"""Compares the table of bad input with what PyTorch says: `python -m tests.acceptance.record_bad_input`.

With `--write` the table gets PyTorch's words, but for lines whose words are `...`. Needs PyTorch.
"""

from __future__ import annotations

import sys
import warnings

from tests.acceptance.test_bad_input_table import TABLE, kind_matches, run, sections, words_of


def said(code: str, torch: object) -> BaseException | None:
    """What PyTorch raises for a line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(code, torch)
    except Exception as error:
        return error
    return None


def main() -> int:
    import torch
    import torch.nn.utils.prune
    import torch.utils.data

    text, different = TABLE.read_text(), 0
    for rows in sections().values():
        for code, kind, words in rows:
            error = said(code, torch)
            if (
                error is not None
                and kind_matches(error, kind)
                and words in ("...", words_of(error))
            ):
                continue
            different += 1
            got = (
                "nothing"
                if error is None
                else f"{type(error).__name__.lstrip('_')}: {words_of(error)}"
            )
            print(f"{code}\n    in the table {kind}: {words}\n    PyTorch says {got}")
            if error is not None:
                text = text.replace(f"{code}\n    {kind}: {words}\n", f"{code}\n    {got}\n")
    print(f"{different} lines differ")
    if "--write" in sys.argv:
        TABLE.write_text(text)
    return min(different, 1)


if __name__ == "__main__":
    sys.exit(main())
