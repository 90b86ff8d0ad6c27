"""The site: Sphinx, pages in Markdown (MyST), the reference from docstrings, the gallery from examples/."""

import sys
from pathlib import Path

import cotrain_losses

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

project = "cotrain_losses"
author = "the cotrain_losses authors"
copyright = f"2026, {author}"
version = release = cotrain_losses.__version__
html_title = f"cotrain_losses {release}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "broad",
    "docstrings",
    "lines",
]
default_role = "literal"  # single backticks are code in the gallery's texts too
smartquotes = False  # sentences hold code: its quotes, dashes and dots stay as they are typed
exclude_patterns = ["_extensions", "gallery/*.py", "gallery/*.ipynb", "**/*.zip"]
suppress_warnings = ["config.cache"]  # the gallery's settings hold a function

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_links_external_new_tab = True

# MathJax is fetched from its CDN by the reader's browser; a build needs no network.
mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-mml-chtml.js"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "exclude-members": "extra_repr, compare, get_extra_state, set_extra_state"}
autodoc_preserve_defaults = True
napoleon_custom_sections = ["Shape"]
napoleon_use_rtype = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
toc_object_entries_show_parents = "hide"

nitpicky = True
nitpick_ignore_regex = [
    # other projects' names: a build needs no network, so their inventories are not read
    ("py:.*", r"(torch|nn|np|numpy|collections|typing|pathlib|pathlike|os|Any|Path|Tensor|Iterator|Callable).*"),
    (
        "py:.*",
        r"(Mapping|Sequence|Iterable|NDArray|AbstractContextManager|Self|Literal|TypeAlias|Array|optional|contextlib|dict).*",
    ),
    # types that signatures name and users never write
    ("py:.*", r"(cotrain_losses\..*\.)?[A-Z_]\w*"),
]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"footer_icons": [], "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"

sphinx_gallery_conf = {
    "examples_dirs": str(DOCS.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib",),
    "min_reported_time": 1,
    "show_memory": False,
    "capture_repr": (),
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "download_all_examples": False,
}
