"""How the documentation site is built: scripts/docs.sh, or sphinx-build docs docs/_build."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))
os.environ["QMCNET_DOCS"] = str(HERE)  # for pages that read files of the repository

project, author, copyright = "qmcnet", "The qmcnet developers", "The qmcnet developers"
version = release = version_of("qmcnet")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "mathml",
    "docstrings",
    "generated",
    "offline",
    "streams",
]
exclude_patterns = ["_build", "_extensions", "**.ipynb_checkpoints"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|nn|ase|pyscf|omegaconf|collections|typing|pathlib|functools)\b.*"),
    ("py:class", r"qmcnet\.\w+\.\w+\.\w+"),  # types in signatures that no page is about
    ("py:exc", r"RunDirectoryError|ConfigError|Diverged"),
]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"qmcnet {version}"
html_static_path = ["_static"]
html_css_files = ["qmcnet.css"]
html_show_sourcelink, html_copy_source = False, False

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True  # what the runs write is thrown away
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # of a cell, on a machine that is busy with something else
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would be fetched from elsewhere

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_rtype, napoleon_preprocess_types = False, False
napoleon_custom_sections = ["Letters"]
napoleon_use_ivar = True
autoclass_content = "both"
