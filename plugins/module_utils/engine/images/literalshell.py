# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads shell scripts without running them: the commands whose words are known beforehand.

For maintainer scripts of Debian packages (POSIX.1-2017, Shell Command Language, sections 2.2, 2.3, 2.6.2, 2.9.4). A
script is hostile until proved otherwise and the host is not the system it is written for, so nothing of it runs.
Assignments, ``for`` loops over known words and plain ``$NAME`` are followed; of conditions both branches are read, and
of ``case`` all of them where it looks at ``$1`` (what the script was called for), else none. A command with a word that
only running could tell (command substitution, an unknown variable) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_SEPARATORS = "\n;&|()"
_LEADING = frozenset({"if", "then", "elif", "else", "do", "{", "!", "export", "local", "readonly"})
_STEPS, _DEPTH = 20_000, 20         # of a script that would never end, or that nests for fun


@dataclass(frozen=True)
class _Part:
    """A piece of a word: literal text, or the name of a variable (quoted ones are not split into words)."""

    text: str
    variable: bool = False
    quoted: bool = False


_Word = list[_Part]
_Unknown = _Part("", variable=True)         # no variable has an empty name


@dataclass(frozen=True)
class _Loop:
    variable: str
    words: list[_Word]
    body: list[object]                      # commands (lists of words) and loops


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of ``script`` with known words, in the order of their running, each as its words.

    Words hold no NUL. At most 20,000 steps of a script are followed, so that this always ends.
    """
    split = [words for words in map(_strip, _Lexer(script).commands()) if words]
    body, _end = _parse(split, 0, 0)
    yield from _run(body, {}, [_STEPS])


class _Lexer:
    """Characters to commands of words."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\0", "")
        self.at = 0
        self.documents: list[str] = []      # here-documents whose text follows the next newline

    def commands(self) -> Iterator[list[_Word]]:
        words: list[_Word] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _SEPARATORS:
                yield words
                words = []
                self.at += 1
                if char == "\n":
                    self._skip_documents()
            elif char in " \t\r" or self.text.startswith("\\\n", self.at):
                self.at += 2 if char == "\\" else 1
            elif char == "#":
                self.at = self._find("\n", self.at)
            elif char in "<>":
                self._redirection()
            else:
                word = self._word()
                if not (self.text[self.at:self.at + 1] in ("<", ">") and _literal(word).isdigit()):     # 2>file
                    words.append(word)
        yield words

    def _find(self, what: str, start: int) -> int:
        found = self.text.find(what, start)
        return len(self.text) if found < 0 else found

    def _redirection(self) -> None:
        document = re.compile(r"<<-?[ \t]*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1").match(self.text, self.at)
        if document:
            self.documents.append(document[2])
            self.at = document.end()
            return
        operator = re.compile(r"[<>]+[&|]?[ \t]*").match(self.text, self.at)
        self.at = operator.end() if operator else self.at + 1
        if self.at < len(self.text) and self.text[self.at] not in _SEPARATORS + "<>":
            self._word()

    def _skip_documents(self) -> None:
        for delimiter in self.documents:
            end = re.compile(rf"^\t*{delimiter}$", re.M).search(self.text, self.at)
            self.at = min(len(self.text), end.end() + 1) if end else len(self.text)
        self.documents = []

    def _word(self) -> _Word:
        parts: _Word = []
        while self.at < len(self.text) and self.text[self.at] not in _SEPARATORS + " \t\r<>":
            char = self.text[self.at]
            if char == "'":
                end = self._find("'", self.at + 1)
                parts.append(_Part(self.text[self.at + 1:end], quoted=True))
                self.at = end + 1
            elif char == '"':
                self.at += 1
                self._double(parts)
            elif char == "\\":
                parts.append(_Part(self.text[self.at + 1:self.at + 2].replace("\n", ""), quoted=True))
                self.at += 2
            elif char in "$`":
                parts.append(self._expansion(quoted=False))
            else:
                parts.append(_Part(char))
                self.at += 1
        return parts

    def _double(self, parts: _Word) -> None:
        parts.append(_Part("", quoted=True))        # "" is a word too
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return
            if char in "$`":
                parts.append(self._expansion(quoted=True))
                continue
            if char == "\\" and self.text[self.at + 1:self.at + 2] in ("$", "`", '"', "\\", "\n"):
                self.at += 1
                char = self.text[self.at:self.at + 1].replace("\n", "")
            parts.append(_Part(char, quoted=True))
            self.at += 1

    def _expansion(self, quoted: bool) -> _Part:
        variable = _VARIABLE.match(self.text, self.at)
        if variable:
            self.at = variable.end()
            return _Part(variable[1] or variable[2], variable=True, quoted=quoted)
        if self.text[self.at] == "`":
            self.at = self._find("`", self.at + 1) + 1
        elif self.text.startswith(("$(", "${"), self.at):
            self._nested()
        else:
            self.at += 2                            # $1, $?, $@
            return _Part(self.text[self.at - 1:self.at], variable=True, quoted=quoted)
        return _Unknown

    def _nested(self) -> None:
        """Go behind the bracket that closes the one after the dollar sign; brackets in quotes do not count."""
        depth, quote = 0, ""
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            elif char in "({":
                depth += 1
            elif char in ")}":
                depth -= 1
                if not depth:
                    return


def _literal(word: _Word) -> str:
    """An unquoted word as it stands, "" for any other: what can be a keyword."""
    return "" if any(part.variable or part.quoted for part in word) else "".join(part.text for part in word)


def _strip(words: list[_Word]) -> list[_Word]:
    while words and _literal(words[0]) in _LEADING:
        words = words[1:]
    return words


def _parse(split: list[list[_Word]], at: int, depth: int) -> tuple[list[object], int]:
    """Commands and loops from ``at`` to the end, or behind the ``done`` that ends this body."""
    body: list[object] = []
    while at < len(split):
        words = split[at]
        at += 1
        first = _literal(words[0])
        if first == "done" and depth:
            break
        if first == "case" and len(words) > 1 and [part.text for part in words[1] if part.text] != ["1"]:
            at = _behind_case(split, at)
        elif first in ("for", "while", "until") and depth < _DEPTH:
            inner, at = _parse(split, at, depth + 1)
            if first == "for" and len(words) > 2 and _literal(words[2]) == "in":
                body.append(_Loop(_literal(words[1]), words[3:], inner))
            else:
                body.extend(inner)
        else:
            body.append(words)
    return body, at


def _behind_case(split: list[list[_Word]], at: int) -> int:
    depth = 1
    while at < len(split) and depth:
        first = _literal(split[at][0])
        depth += (first == "case") - (first == "esac")
        at += 1
    return at


def _run(body: list[object], known: dict[str, str], steps: list[int]) -> Iterator[list[str]]:
    for node in body:
        steps[0] -= 1
        if steps[0] < 0:
            return
        if isinstance(node, _Loop):
            for word in node.words:
                for value in _expand(word, known) or ():
                    known[node.variable] = value
                    yield from _run(node.body, known, steps)
            known.pop(node.variable, None)
        elif isinstance(node, list):
            yield from _command(node, known)


def _command(words: list[_Word], known: dict[str, str]) -> Iterator[list[str]]:
    while words and (assignment := _assignment(words[0])):
        name, value = assignment
        text = _joined(value, known)
        # One that only running could tell keeps its value of before: the branches of a condition are both read.
        if text is not None:
            known[name] = text
        words = words[1:]
    expanded = [_expand(word, known) for word in words]
    found = [text for texts in expanded if texts is not None for text in texts]
    if found and None not in expanded:
        yield found


def _assignment(word: _Word) -> tuple[str, _Word] | None:
    """``NAME=value`` in two, None for any other word."""
    head = ""
    for index, part in enumerate(word):
        if part.variable or part.quoted:
            return None
        head += part.text
        if part.text == "=":
            match = _ASSIGNMENT.fullmatch(head)
            return (match[1], word[index + 1:]) if match else None
    return None


def _joined(word: _Word, known: dict[str, str]) -> str | None:
    texts = [known.get(part.text) if part.variable else part.text for part in word]
    return "".join(text for text in texts if text is not None) if None not in texts else None


def _expand(word: _Word, known: dict[str, str]) -> list[str] | None:
    """The words that a word becomes: an unquoted variable is split at blanks. None: only running could tell."""
    text = _joined(word, known)
    if text is None:
        return None
    return text.split() if any(part.variable and not part.quoted for part in word) else [text]
