"""The page's scripts as they are sent: those that are needed together in one file.

A browser takes longer for twenty small files than the API does for all that is in them. So the two
files of `TOGETHER` are sent with all that they import, each module in a function of its own, and
whatever else imports one of those takes it from there: no module is in a page twice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

TOGETHER = ("page", "next")
"""The first sight, and what is loaded once that stands."""

# Comments and indentation: a fifth of all. What is left has the same lines. What stands behind code
# is a comment only where nothing in it could end a text.
_FOR_READERS_OF_CODE = re.compile(
    rb"^\t+(//.*|/\*.*\*/$)?|^//.*|^/\*.*\*/$|(?<=[;,{(\])}]) //[^\n\"'`]*$", re.MULTILINE
)
_IMPORT = re.compile(
    r'^(?:import (?P<names>\{.*\})|export \* as (?P<whole>\w+)) from "\./(?P<module>\w+)\.js";$',
    re.MULTILINE,
)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


def without_comments(content: bytes) -> bytes:
    return _FOR_READERS_OF_CODE.sub(b"", content)


def as_sent(scripts: Mapping[str, str]) -> dict[str, str]:
    """By the names of their files, without `.js`."""
    homes: dict[str, str] = {}
    sent = {}
    for file in TOGETHER:
        parts = [part for part in dict.fromkeys(_imports(file, scripts)) if part not in homes]
        homes |= dict.fromkeys(parts, file)
        functions = [_as_function(part, scripts[part]) for part in parts]
        whole = "".join([*functions, _linked(scripts[file], homes)])
        taken = _taken([scripts[part] for part in (*parts, file)], homes, by=file)
        sent[file] = f"{taken}{whole}export {{ {_variables(parts)} }};\n"
    for name in scripts.keys() - sent:
        sent[name] = _taken([scripts[name]], homes) + _linked(scripts[name], homes)
    return sent


def _imports(name: str, scripts: Mapping[str, str]) -> Iterator[str]:
    """All that a script imports, each after what that one imports itself."""
    for found in _IMPORT.finditer(scripts[name]):
        yield from _imports(found["module"], scripts)
        yield found["module"]


def _taken(texts: Iterable[str], homes: Mapping[str, str], by: str | None = None) -> str:
    """The statements, in one line, that import what scripts of a file need of others."""
    wanted = {found["module"] for text in texts for found in _IMPORT.finditer(text)}
    by_home: dict[str, list[str]] = {}
    for module in sorted(wanted & homes.keys()):
        by_home.setdefault(homes[module], []).append(module)
    return "".join(
        f'import {{ {_variables(modules)} }} from "./{home}.js"; '
        for home, modules in by_home.items()
        if home != by
    )


def _linked(text: str, homes: Mapping[str, str]) -> str:
    """The text with what it imports as names of this file, where `_taken` has made them so."""

    def link(found: re.Match[str]) -> str:
        module = found["module"]
        if module not in homes:
            return found[0]
        if found["whole"]:
            return f"export {{ {module}$ as {found['whole']} }};"
        return f"const {found['names']} = {module}$;"

    return _IMPORT.sub(link, text)


def _as_function(name: str, text: str) -> str:
    exported = ", ".join(_EXPORT.findall(text))
    body = _IMPORT.sub(r"const \g<names> = \g<module>$;", _EXPORT.sub("", text))
    return f"const {name}$ = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def _variables(modules: Iterable[str]) -> str:
    return ", ".join(f"{module}$" for module in modules)
