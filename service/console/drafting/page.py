"""The lines of a mapping file: YAML with comments, and what is told beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_LONGEST_KEY = 1000  # characters of a key before a colon: YAML takes 1,024


@dataclass
class Page:
    """The lines of the file, the mapping that they are, and what is told beside it."""

    lines: list[str] = field(default_factory=list)
    mapping: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, depth: int, key: str, value: str | None = None, comment: str = "", lead: str = "") -> None:
        """Write a key, and its value where it is one line; `lead` is what stands before it (`- `, `# `)."""
        indent = "  " * depth + lead
        written = _scalar(key)
        said = "" if value is None else f" {_scalar(value)}"
        end = f"  # {_plain(comment)}" if comment else ""
        if len(written) > _LONGEST_KEY and not lead.startswith("#"):
            self.lines += [f"{indent}? {written}", f"{indent}:{said}{end}"]
        else:
            self.lines.append(f"{indent}{written}:{said}{end}")

    def comment(self, text: str, depth: int = 0) -> None:
        """Write a line that is only read."""
        self.lines.append(f"{'  ' * depth}# {_plain(text, keep=True)}")

    def tell(self, *lines: str) -> None:
        """Write lines of a comment that are told as well."""
        for line in lines:
            self.comment(line)
        self.notes.append(" ".join(lines))


def _plain(text: str, *, keep: bool = False) -> str:
    """Return a text as a comment can hold it: one line, nothing that YAML refuses."""
    line = text if keep and text.isprintable() else " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _scalar(text: str) -> str:
    """Return a text as YAML on one line, in quotes where it needs them."""
    if text.isprintable() and text.isascii() | text.isalnum():
        begins = text[:1].isalpha() or text[:1] == "_"
        breaks = ": " in text or " #" in text or text.endswith((":", " ")) or "  " in text
        if begins and not breaks and text.casefold() not in ("null", "true", "false"):
            return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
