"""Hooks: what they see and change, and that none remains whatever happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from liveedit.backbones.twin import exchange
from liveedit.hooks import capture_calls, replace_output, stop_after


class TupleLayer(nn.Module):
    """Returns a tuple that begins with the hidden states, as decoder layers of some versions do."""

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, str]:
        return hidden + 1, "rest"


@pytest.fixture
def stack() -> nn.Sequential:
    return nn.Sequential(nn.Identity(), nn.Linear(3, 3), nn.Identity())


def hooks_of(module: nn.Module) -> int:
    """All forward hooks and pre-hooks below ``module``."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_stop_after_captures_the_output_and_runs_nothing_above(stack: nn.Sequential) -> None:
    reached = []
    foreign = stack[2].register_forward_hook(lambda *_: reached.append(1))
    x = torch.ones(1, 3)
    with stop_after(stack[1]) as (captured, run):
        run(lambda: stack(x))
    assert torch.equal(captured.tensor(), stack[1](x))
    assert reached == []
    foreign.remove()
    assert hooks_of(stack) == 0


def test_stop_after_says_so_when_the_module_never_runs(stack: nn.Sequential) -> None:
    with stop_after(stack[1]) as (captured, run):
        with pytest.raises(RuntimeError, match="never reached"):
            run(lambda: None)
        with pytest.raises(RuntimeError, match="has not run"):
            captured.tensor()
    assert hooks_of(stack) == 0


def test_replace_output_changes_tensors_and_the_head_of_tuples() -> None:
    plain, layer = nn.Identity(), TupleLayer()
    x = torch.zeros(2)
    with replace_output(plain, lambda h: h + 5), replace_output(layer, lambda h: h * 10):
        assert plain(x).tolist() == [5.0, 5.0]
        hidden, rest = layer(x)
    assert hidden.tolist() == [10.0, 10.0]
    assert rest == "rest"
    assert plain(x).tolist() == [0.0, 0.0]


def test_nested_replacements_apply_in_order_and_leave_foreign_hooks(stack: nn.Sequential) -> None:
    seen = []
    foreign = stack[0].register_forward_hook(lambda *_: seen.append(1))
    with replace_output(stack[0], lambda h: h + 1), replace_output(stack[0], lambda h: h * 3):
        assert stack[0](torch.zeros(1, 3)).tolist() == [[3.0, 3.0, 3.0]]
    assert list(stack[0]._forward_hooks) == [foreign.id]
    assert seen == [1]


@pytest.mark.parametrize("context", ["stop", "replace"])
def test_no_hook_remains_after_an_error(stack: nn.Sequential, context: str) -> None:
    def fail(_hidden: torch.Tensor) -> torch.Tensor:
        raise ValueError("boom")

    foreign = stack[1].register_forward_hook(lambda *_: None)
    if context == "stop":
        with pytest.raises(ValueError, match="boom"), stop_after(stack[1]) as (_, run):
            run(lambda: fail(torch.zeros(1)))
    else:
        with pytest.raises(ValueError, match="boom"), replace_output(stack[1], fail):
            stack(torch.zeros(1, 3))
    assert hooks_of(stack) == 1
    assert list(stack[1]._forward_hooks) == [foreign.id]


def test_what_another_thread_runs_meanwhile_meets_no_hook(stack: nn.Sequential) -> None:
    x = torch.ones(1, 3)
    plain = stack(x)
    with ThreadPoolExecutor(1) as other:
        with replace_output(stack[1], lambda h: h + 1):
            assert torch.equal(other.submit(stack, x).result(), plain)
            assert torch.equal(stack(x), plain + 1)
        with stop_after(stack[1]) as (captured, run):
            assert torch.equal(other.submit(stack, x).result(), plain)
            assert captured.value is None
            run(lambda: stack(x))
        with capture_calls([stack[1]]) as ((call,), run):
            assert torch.equal(other.submit(stack, x).result(), plain)
            assert call.arguments is None
            run(lambda: stack(x))


def test_a_copy_that_was_made_meanwhile_is_left_alone_afterwards(stack: nn.Sequential) -> None:
    x = torch.ones(1, 3)
    with replace_output(stack[1], lambda h: h + 1):
        twin = exchange(stack)
    assert torch.equal(twin(x), stack(x))
