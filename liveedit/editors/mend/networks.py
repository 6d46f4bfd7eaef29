"""MEND's hyper-networks (Mitchell et al., ICLR 2022, https://arxiv.org/abs/2110.11309, Section 3).

The gradient of a linear map's weight is, of each token, the product of what the map read, x, and the gradient of what
it wrote, g. A hyper-network turns (x, g) of each token into (x', g'), and the weight's update is the sum over tokens
of g' x'^T, times a learned step size. Maps of one shape share a network, which knows them by a scale and an offset of
their own. At the beginning a network gives what it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import distributed, nn

from liveedit.backbones import Backbone
from liveedit.backbones.parts import feed_forward
from liveedit.backbones.twin import Standin
from liveedit.configs.mend import MendConfig

EPSILON = 1e-7
# A hyper-network's weights move by small steps, a step size has to move by factors; the original trains step sizes at a
# rate of their own, a hundred times that of the weights. Here their logarithm is a parameter times this.
RATE_SPEED = 20.0


@dataclass(frozen=True)
class Factors:
    """Of each of B rows and T tokens: ``x`` [B, T, n] that a map read, and ``g`` [B, T, m] for what it wrote."""

    x: torch.Tensor
    g: torch.Tensor

    def update(self) -> torch.Tensor:
        """The change of the map's weight [m, n] that all rows and tokens make together."""
        return self.g.flatten(0, 1).T @ self.x.flatten(0, 1)


class Tapped(Standin):
    """A linear map that lets the gradient of what it writes be asked for; the gradient of its weight never is."""

    given: torch.Tensor
    probe: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the map writes."""
        self.given = x.detach()
        written: torch.Tensor = self.original(x)
        self.probe = torch.zeros_like(written, requires_grad=True)
        return written + self.probe


class Changed(Standin):
    """A linear map whose weight has, in each row of the batch, the update of that row's own factors."""

    def __init__(self, original: nn.Module, factors: Factors) -> None:
        super().__init__(original)
        self.factors = factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [R, T, n] or [R T, n] to what the changed maps write."""
        rows = x.reshape(len(self.factors.x), -1, x.shape[-1])
        added = (rows @ self.factors.x.to(x.dtype).mT) @ self.factors.g.to(x.dtype)
        written: torch.Tensor = self.original(x)
        return written + added.reshape(written.shape)


def edited_layers(backbone: Backbone, config: MendConfig) -> range:
    """The decoder layers whose feed-forward networks are edited, counted from 0."""
    end = len(backbone.layers) - config.above
    return range(max(0, end - config.layers), end)


def edited_maps(backbone: Backbone, config: MendConfig) -> list[nn.Linear]:
    """The linear maps of these layers' feed-forward networks that are edited, from below."""
    found: list[nn.Linear] = []
    for layer in edited_layers(backbone, config):
        network = feed_forward(backbone, layer)
        found += [*(network.inputs if config.inner else ()), network.down]
    return found


def gradients(loss: torch.Tensor, taps: Sequence[Tapped], rows: int) -> list[Factors]:
    """What the tapped maps read and the gradients of what they wrote, of ``rows`` rows, in float32."""
    found = torch.autograd.grad(loss, [tap.probe for tap in taps])
    return [
        Factors(tap.given.float().reshape(rows, -1, tap.given.shape[-1]), g.float().reshape(rows, -1, g.shape[-1]))
        for tap, g in zip(taps, found, strict=True)
    ]


class HyperLayer(nn.Module):
    """One layer: z + s * relu-or-not(W z) + o, with W of low rank and zero at the beginning, s and o of each map."""

    def __init__(self, width: int, rank: int, maps: int, last: bool) -> None:
        super().__init__()
        rank = min(rank, width)
        self.down = nn.Parameter(torch.randn(rank, width) / width**0.5)
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(maps, width))
        self.offset = nn.Parameter(torch.zeros(maps, width))
        self.last = last

    def forward(self, z: torch.Tensor, number: int) -> torch.Tensor:
        """z [.., width] of map ``number`` among those of its shape."""
        inner = z @ self.down.T @ self.up.T + self.bias
        inner = self.scale[number] * inner + self.offset[number]
        # At 0, where everything begins, clamp lets the gradient through and relu would not.
        return z + (inner if self.last else inner.clamp(min=0))


class Normalizer(nn.Module):
    """Mean and deviation of everything that training has shown; fixed afterwards (Section 3.2)."""

    count: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        for name, start in (("count", torch.zeros(())), ("mean", torch.zeros(width)), ("square", torch.zeros(width))):
            self.register_buffer(name, start)

    @torch.no_grad()
    def see(self, values: torch.Tensor) -> None:
        """Count values [N, width] in; of processes that train together, each calls this and counts everyone's in."""
        count, mean, square = float(len(values)), values.mean(0), values.square().mean(0)
        if distributed.is_initialized():
            sums = torch.cat((values.sum(0), values.square().sum(0), values.new_tensor([count])))
            distributed.all_reduce(sums)
            count = sums[-1].item()
            mean, square = (sums[:-1] / count).chunk(2)
        new = self.count + count
        share = count / new
        self.mean += (mean - self.mean) * share
        self.square += (square - self.square) * share
        self.count.copy_(new)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Zero mean and unit deviation; as they are, as long as nothing was seen."""
        if not self.count:
            return values
        mean, scale = self.constants()
        return (values - mean) / scale

    def constants(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What is taken from values, and what they are then divided by."""
        return self.mean, (self.square - self.mean.square()).clamp(min=0).sqrt() + EPSILON


class HyperNetworks(nn.Module):
    """The networks of all edited maps, whose shapes are (m, n) each, in the order of :func:`edited_maps`."""

    def __init__(self, config: MendConfig, shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.places: list[tuple[str, int]] = []
        sizes: dict[str, int] = {}
        for m, n in shapes:
            name = f"{m}x{n}"
            self.places.append((name, sizes.get(name, 0)))
            sizes[name] = sizes.get(name, 0) + 1
        self.networks = nn.ModuleDict()
        for (m, n), (name, _) in zip(shapes, self.places, strict=True):
            if name not in self.networks:
                made = [HyperLayer(m + n, config.rank, sizes[name], i == config.depth - 1) for i in range(config.depth)]
                self.networks[name] = nn.ModuleList(made)
        self.read = nn.ModuleList(Normalizer(n) for _, n in shapes)
        self.wrote = nn.ModuleList(Normalizer(m) for m, _ in shapes)
        self.log_rates = nn.Parameter(torch.full((len(shapes),), config.initial_rate).log() / RATE_SPEED)

    @classmethod
    def over(cls, config: MendConfig, backbone: Backbone) -> HyperNetworks:
        """Untrained networks for a backbone."""
        shapes = [(m.out_features, m.in_features) for m in edited_maps(backbone, config)]
        return cls(config, shapes)

    def forward(self, factors: Sequence[Factors], learn: bool = False) -> list[Factors]:
        """The factors of the updates; with ``learn``, what is normalised by counts these in first.

        A token without gradient has no part in an update.
        """
        found = []
        for i, ((name, number), given) in enumerate(zip(self.places, factors, strict=True)):
            real = (given.g != 0).any(-1)
            read, wrote = cast(Normalizer, self.read[i]), cast(Normalizer, self.wrote[i])
            if learn:
                read.see(given.x[real])
                wrote.see(given.g[real])
            z = torch.cat((read(given.x), wrote(given.g)), -1)
            layers: Any = self.networks[name]
            for layer in layers:
                z = layer(z, number)
            x, g = z.split((given.x.shape[-1], given.g.shape[-1]), -1)
            found.append(Factors(x, -(RATE_SPEED * self.log_rates[i]).exp() * g * real[..., None]))
        return found

    @torch.no_grad()
    def whiten(self, moments: Sequence[ReadMoments]) -> None:
        """Let every network begin as a whitening of what its maps read, beside passing on the gradient.

        The directions in which maps of one shape vary most, as many as the rank allows, are shrunk to the level of
        the last of them: x' = x - V (1 - l_k / l) V^T x, with V and l the leading eigenvectors and eigenvalues of the
        second moments of what is normalised. So the update of one token answers less to other tokens, with which it
        shares these directions. ``moments`` are those of each map, in the order of :func:`edited_maps`.
        """
        shared: dict[str, list[torch.Tensor]] = {}
        for i, ((name, _), seen) in enumerate(zip(self.places, moments, strict=True)):
            shared.setdefault(name, []).append(seen.normalised(cast(Normalizer, self.read[i])))
        for name, found in shared.items():
            last = cast(HyperLayer, cast(nn.ModuleList, self.networks[name])[-1])
            values, vectors = torch.linalg.eigh(torch.stack(found).mean(0))
            width, count = len(values), min(len(last.down), len(values))
            values, vectors = values.flip(0)[:count].clamp(min=0), vectors.flip(1)[:, :count]
            shrinking = 1 - values[-1] / values.clamp(min=EPSILON)
            last.down[:count] = 0
            last.down[:count, :width] = vectors.T.to(last.down.dtype)
            last.up[:width, :count] = -(vectors * shrinking).to(last.up.dtype)


class ReadMoments:
    """First and second moments of what a map read, each token weighted by its squared gradient; sums in float64.

    So the tokens that an update is mostly made of count most, and not the many that hardly bear on the answer.
    """

    def __init__(self) -> None:
        self.weight: float | torch.Tensor = 0.0
        self.first: float | torch.Tensor = 0.0
        self.second: float | torch.Tensor = 0.0

    def see(self, factors: Factors) -> None:
        """Count the tokens of some rows in."""
        x, g = factors.x.flatten(0, 1).double(), factors.g.flatten(0, 1).double()
        weight = g.square().sum(-1)
        self.weight = self.weight + weight.sum()
        self.first = self.first + weight @ x
        self.second = self.second + (weight[:, None] * x).T @ x

    def normalised(self, normalizer: Normalizer) -> torch.Tensor:
        """The second moments [n, n] of what ``normalizer`` makes of x."""
        mean, scale = (value.double() for value in normalizer.constants())
        first, second = torch.as_tensor(self.first / self.weight), torch.as_tensor(self.second / self.weight)
        centred = second - torch.outer(first, mean) - torch.outer(mean, first) + torch.outer(mean, mean)
        return centred / torch.outer(scale, scale)
