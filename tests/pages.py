"""What README and the documentation tell a reader to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:python run\.py|interpret-runs) [^`]+)`")
FILE_NAME = re.compile(r"# ([\w./]+\.(?:py|yaml))\n")
PROGRAMS = (("python", "run.py"), ("interpret-runs",))


@dataclass(frozen=True)
class Block:
    """A code block, or a command within a sentence.

    Attributes:
        language: as behind the fence; "" is a shell.
    """

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block is, by its first line."""
        found = FILE_NAME.match(self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """The arguments of each call of the program, comments and continued lines seen to."""
        found = []
        # Within double quotes a shell takes the backslash before a backtick away, shlex does not.
        for line in self.text.replace("\\\n", " ").replace("\\`", "`").splitlines():
            words = shlex.split(line, comments=True)
            for program in PROGRAMS:
                for start in range(len(words)):
                    if tuple(words[start : start + len(program)]) == program:
                        found.append(tuple(words[start + len(program) :]))
        return found


def blocks(page: Path) -> Iterator[Block]:
    """Blocks and commands in sentences, in the order of the page."""
    text = page.read_text(encoding="utf-8")
    found = [(one.start(), Block(one[1], one[2])) for one in FENCE.finditer(text)]
    # Within a fence there may be backticks too, which are no sentences.
    outside = FENCE.sub(lambda one: " " * len(one[0]), text)
    found += [(one.start(), Block("", one[1].replace("\n", " "))) for one in INLINE.finditer(outside)]
    return (block for _, block in sorted(found, key=lambda pair: pair[0]))


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead, within the project."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link and not link.startswith("#")]
