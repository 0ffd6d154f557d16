"""Exit 0 if the documents keep their word: links resolve, commands and make targets exist, Python compiles.

Reads every Markdown file at the top and below `docs` and `examples`. Does *not* follow links to other sites,
run a command, or compare the output that a document shows.
"""

import ast
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("*.md", "docs/**/*.md", "examples/**/*.md")
SHELLS = {"sh", "bash", "shell", "console"}
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^ {0,3}\1[ \t]*$", re.M | re.S)
CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)|^ {0,3}\[[^\]]+\]:\s+(\S+)", re.M)
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*$", re.M)


def blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


class Document:
    def __init__(self, path: Path) -> None:
        self.path, self.text = path, path.read_text("utf-8")
        self.prose = FENCE.sub(blank, self.text)  # fenced blocks are blanked: offsets stay those of the text

    def at(self, offset: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.text.count(chr(10), 0, offset) + 1}"

    def blocks(self, languages: set[str]) -> Iterator[tuple[str, str]]:
        for fence in FENCE.finditer(self.text):
            if fence[2].lower() in languages:
                yield self.at(fence.start()), textwrap.dedent(fence[3])

    def anchors(self) -> set[str]:
        """The fragment of each heading, as GitHub makes it, and of each explicit anchor."""
        found: set[str] = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", self.prose))
        for title in HEADING.findall(self.prose):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.add(next(s for s in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if s not in found))
        return found


def broken_links(document: Document) -> Iterator[str]:
    for link in LINK.finditer(CODE_SPAN.sub(blank, document.prose)):
        target: str = link[1] or link[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        place, _, fragment = target.partition("#")
        path = (document.path.parent / place).resolve() if place else document.path
        if not path.is_relative_to(ROOT) or not path.exists():
            yield f"{document.at(link.start())}: no file {place}"
        elif fragment and path.suffix == ".md" and fragment not in Document(path).anchors():
            yield f"{document.at(link.start())}: no heading #{fragment} in {path.relative_to(ROOT)}"


def commands(block: str) -> Iterator[list[str]]:
    """The words of each simple command; where a block has `$` prompts, its other lines are output."""
    lines = block.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    lexer = shlex.shlex("\n;".join([*lines, ""]), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in lexer:
        if not set(token) <= set("();|&"):
            words += [token] if words or not re.match(r"[A-Za-z_]+=", token) else []
        elif words:
            yield words
            words = []


def wrong_verb(words: list[str], root: click.Command) -> str | None:
    """What `antiphon …` gets wrong: a verb or an option that the command line does not have."""
    command, context, rest = root, click.Context(root, info_name="antiphon"), iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if word in {"<", ">", ">>"}:
            next(rest, None)  # the file of a redirection
        elif word.startswith("-") and word != "-":
            params = command.get_params(context)
            option = next((param for param in params if name in param.opts + param.secondary_opts), None)
            if option is None:
                return f"`{context.command_path} {name}` is not an option"
            if isinstance(option, click.Option) and not (value or option.is_flag or option.count):
                next(rest, None)
        elif isinstance(command, click.Group):
            below = command.get_command(context, word)
            if below is None:
                return f"`{context.command_path} {word}` is not a command"
            command, context = below, click.Context(below, info_name=word, parent=context)
    return None


def wrong_blocks(document: Document, root: click.Command | None, targets: set[str]) -> Iterator[str]:
    for found in re.finditer(r"`make ([a-z][a-z-]*)", document.prose):
        if found[1] not in targets:
            yield f"{document.at(found.start())}: no target `make {found[1]}`"
    for where, block in document.blocks(SHELLS):
        try:
            called = list(commands(block))
        except ValueError as error:
            yield f"{where}: not a shell command: {error}"
            continue
        for name, *words in called:
            if name == "make":
                named = {word for word in words if re.fullmatch("[a-z][a-z-]*", word)}
                yield from (f"{where}: no target `make {word}`" for word in sorted(named - targets))
            elif root and Path(name).name == "antiphon" and (wrong := wrong_verb(words, root)):
                yield f"{where}: {wrong}"
    for where, block in document.blocks({"python", "py"}):
        try:
            compile(block, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except SyntaxError as error:
            yield f"{where}: line {error.lineno} of the block: {error.msg}"


def command_line() -> click.Command | None:
    """The root of the command line; nothing while the package has none."""
    if not (ROOT / "src/antiphon/cli/__init__.py").exists():
        return None
    import antiphon.cli

    values = [getattr(antiphon.cli, "main", None), *vars(antiphon.cli).values()]
    return next((value for value in values if isinstance(value, click.Group)), None)


def main() -> int:
    root = command_line()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    found = [Document(path) for glob in DOCUMENTS for path in sorted(ROOT.glob(glob))]
    wrong = [line for one in found for line in (*broken_links(one), *wrong_blocks(one, root, targets))]
    if root is not None:
        import make_domain_pages

        wrong += make_domain_pages.differing()
    print("\n".join(wrong) or f"documents: {len(found)} files keep their word")
    if root is None:
        print("documents: no command group in antiphon.cli yet; its verbs were not checked", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
