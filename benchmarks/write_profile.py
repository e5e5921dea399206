"""Write the profile of a study, from a full run of the benchmarks, into benchmarks/README.md.

python benchmarks/write_profile.py reports/benchmarks/run.json
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from vgcore.bench.page import study_profile
from vgcore.bench.record import load

README = Path(__file__).with_name("README.md")


def profile(run):
    """The sentence and the table of a run, as Markdown."""
    words, (head, lines) = study_profile(run)
    rows = [head, ["---"] * len(head), *lines]
    return words + "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_profile(text, run):
    """The text of the README with the profile of a run between its marks."""
    marks = r"(<!-- profile -->\n).*(<!-- end of profile -->)"
    return re.sub(
        marks, lambda found: found[1] + profile(run) + "\n" + found[2], text, flags=re.DOTALL
    )


if __name__ == "__main__":
    README.write_text(with_profile(README.read_text(), load(Path(sys.argv[1]))))
