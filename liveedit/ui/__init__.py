"""The page: a Gradio application over one shared editor, with each person's edits kept in their own session."""

import os

# Before any module here imports gradio: it reports nothing and asks no server for its newest version.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
