"""HTML and Markdown from Jinja templates, which are in the folder `templates` of a package."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup


def render(package: str, template: str, **values: Any) -> Markup:
    """Render an HTML template. The result can be inserted into other templates without being escaped again.

    Args:
        package: The package that contains the template, for example "avcil.serve".
        template: Name of the file without .html.
        values: Variables of the template. Strings are escaped, `Markup` is not.
    """
    return Markup(_environment(package).get_template(f"{template}.html").render(values))


def render_markdown(package: str, template: str, **values: Any) -> str:
    """Render the template NAME.md of a package. Values are not escaped; the filter `yaml` gives a YAML string."""
    return _markdown_environment(package).get_template(f"{template}.md").render(values)


def macro(package: str, template: str, name: str, *values: Any) -> Markup:
    """Call a macro of a template; see `render`."""
    module = _environment(package).get_template(f"{template}.html").module
    return Markup(getattr(module, name)(*values))


@functools.cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, extensions=[_OneLine]
    )


@functools.cache
def _markdown_environment(package: str) -> Environment:
    environment = Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = functools.partial(
        json.dumps, ensure_ascii=False
    )  # JSON strings are YAML strings
    return environment


class _OneLine(Extension):
    """Joins the lines of a template: without a space next to a tag or block, otherwise with one."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        source = re.sub(r"(?<=>)\s*\n\s*|(?<=%})\s*\n\s*|\s*\n\s*(?=<|{%)", "", source.strip())
        return re.sub(r"\s*\n\s*", " ", source)
