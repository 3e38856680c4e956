"""Sphinx's configuration of the documentation's site."""

import importlib.metadata
import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parents[1] / "clients" / "python" / "src"))

project = "signal-broker"
author = "The signal-broker authors"
release = importlib.metadata.version("signal-broker")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # annotations name types that the site does not describe
myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]
highlight_language = "none"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_search_scorer = str(_HERE / "scorer.js")
html_title = f"signal-broker {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
