"""The site of the docs: `make docs` builds it, and fails at anything that Sphinx warns of, broken links among them."""

from redistill import __version__

project = "redistill"
author = copyright = "The redistill authors"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["notebooks"]
highlight_language = "none"
suppress_warnings = [
    "misc.highlighting_failure",  # examples are cut short with ...
    "toc.empty_glob",
]

myst_heading_anchors = 4  # links to headings are those of GitHub
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_mock_imports: list[str] = []
nitpicky = False

html_theme = "furo"
html_title = "redistill"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}  # furo has fonts and scripts of its own: pages ask for nothing outside

linkcheck_timeout = 20
linkcheck_retries = 2
