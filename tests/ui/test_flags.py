"""Which models the page serves, and that it says why."""

from __future__ import annotations

import argparse

import pytest

from liveedit.ui.flags import BACKBONE, EDITOR, add_arguments, choose_models

LLAVA = {"LIVEEDIT_BACKBONE": "llava-hf/llava-1.5-7b-hf", "LIVEEDIT_EDITOR": "somebody/llava-liveedit"}


def test_llava_is_served_when_a_gpu_and_its_editor_are_there() -> None:
    chosen = choose_models(None, None, "auto", True, LLAVA)
    assert (chosen.backbone, chosen.editor) == ("llava-hf/llava-1.5-7b-hf", "somebody/llava-liveedit")
    assert "name it and there is a GPU" in chosen.reason


@pytest.mark.parametrize(
    ("environ", "gpu", "why"),
    [
        ({}, True, "no other model is configured"),
        (LLAVA, False, "no GPU for llava-hf/llava-1.5-7b-hf"),
        ({"LIVEEDIT_BACKBONE": "llava-hf/llava-1.5-7b-hf"}, True, "LIVEEDIT_EDITOR is not"),
        ({"LIVEEDIT_EDITOR": "somebody/llava-liveedit"}, True, "LIVEEDIT_BACKBONE is not"),
    ],
)
def test_otherwise_the_embedded_models_are_served_and_the_page_says_why(
    environ: dict[str, str], gpu: bool, why: str
) -> None:
    chosen = choose_models(None, None, "auto", gpu, environ)
    assert (chosen.backbone, chosen.editor) == (str(BACKBONE), str(EDITOR))
    assert why in chosen.reason


def test_flags_and_a_named_device_overrule() -> None:
    assert choose_models("mine", "my-editor", "auto", False, LLAVA).backbone == "mine"
    slow = choose_models(None, None, "cpu", False, LLAVA)
    assert slow.backbone == "llava-hf/llava-1.5-7b-hf"
    hidden = choose_models(None, None, "auto", False, {**LLAVA, "LIVEEDIT_BACKBONE": "/srv/secret/llava"})
    assert "/srv" not in hidden.reason


def test_variables_are_the_flags_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DTYPE", "bfloat16"), ("QUANTIZE", "4bit"), ("PORT", "8000"), ("MCP", "1")):
        monkeypatch.setenv(f"LIVEEDIT_{name}", value)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args([])
    assert (args.dtype, args.quantize, args.port, args.mcp) == ("bfloat16", "4bit", 8000, True)
    assert parser.parse_args(["--dtype", "float16"]).dtype == "float16"


@pytest.mark.parametrize(
    ("environ", "served"),
    [
        ({}, False),
        ({"SPACE_ID": "somebody/workbench"}, True),
        ({"SPACE_ID": "somebody/workbench", "LIVEEDIT_MCP": ""}, True),
        ({"SPACE_ID": "somebody/workbench", "LIVEEDIT_MCP": "0"}, False),
        ({"LIVEEDIT_MCP": "1"}, True),
    ],
)
def test_a_hosted_space_is_an_mcp_server_unless_it_is_told_not_to(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], served: bool
) -> None:
    for name in ("SPACE_ID", "LIVEEDIT_MCP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args([]).mcp is served
