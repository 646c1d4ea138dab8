"""The network in PyTorch is that of dpcnn: in float64, outputs and gradients to 1e-10."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dpcnn import nn
from dpcnn.models.build import plan_network
from dpcnn.models.zoo import ZOO, zoo_layers
from dpcnn.nn.config import LAYERS
from dpcnn.nn.layer import descendants
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.options import Options
from tests.reference import Array

torch = pytest.importorskip("torch", reason="PyTorch is compared with")
torch_network = pytest.importorskip("dpcnn.bench.torch_network")
torch_baseline = pytest.importorskip("dpcnn.bench.torch_baseline")
torch.set_num_threads(1)

IMAGES = 3
CLASSES = 4
SMALL = {"num_channel": 3, "img_height": 16, "img_width": 16, "num_class": CLASSES}


def with_all_others() -> list[nn.Layer]:
    """Return a network of the layers, and of the arguments, that the zoo does not use."""
    branches = [
        [nn.ReLU(), nn.Convolution(3, 3, padding=1, dilation=1, bias=False), nn.Tanh()],
        [
            nn.AveragePooling(3, 1, 1),
            nn.SiLU(),
            nn.Sequential(nn.BatchNorm(scale=False), nn.GELU()),
        ],
        nn.MaxPooling(3, 1, 1),
    ]
    return [
        nn.Convolution(6, (4, 3), stride=(2, 1), padding="same", groups=3),
        *(
            nn.GroupNorm(2),
            nn.LeakyReLU(0.2),
            nn.Residual([nn.ReLU(), nn.Convolution(6, 1)]),
            nn.ELU(0.5),
        ),
        *(nn.Concatenate(*branches), nn.BatchNorm(shift=False), nn.Convolution(4, 3, dilation=2)),
        *(nn.LayerNorm(), nn.MaxPooling((3, 2), 2), nn.Flatten(), nn.Dense(5, bias=False)),
        *(nn.BatchNorm(eps=1e-3), nn.Sigmoid(), nn.Dropout(0.3), nn.LayerNorm(), nn.Dense(CLASSES)),
    ]


NETWORKS = [*ZOO, "all others"]


def plan_of(name: str) -> Plan:
    side = max(16, ZOO[name].smallest if name in ZOO else 0)
    options = Options(**SMALL | {"img_height": side, "img_width": side})
    layers = with_all_others() if name == "all others" else zoo_layers(name, options)
    return plan_network(options, own=layers)


class SameDropout(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Dropout by the mask of the layer's last forward."""

    def __init__(self, layer: nn.Dropout) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return x * torch.tensor(np.moveaxis(self.layer.mask, -1, 0).copy())


def trained(module: Any) -> bool:
    """Tell whether a module itself has a parameter that is trained."""
    return any(each.requires_grad for each in module.parameters(recurse=False))


def gradients(plan: Plan, model: Any) -> Iterator[tuple[str, Array]]:
    """Yield the path and the gradient, laid out as dpcnn's, of each parameter."""
    kinds = {"W": "weight", "scale": "weight", "b": "bias", "shift": "bias"}
    owners = iter([each for each in model.modules() if trained(each)])
    for layer in plan.leaves.values():
        if layer.parameter_shapes:
            module = next(owners)
            if isinstance(layer, nn.Whitening):
                assert module.weight.grad is None
            for key in layer.parameter_shapes:
                gradient = getattr(module, kinds[key]).grad.numpy()
                yield f"{layer.name}/{key}", gradient.T if isinstance(layer, nn.Dense) else gradient
    assert next(owners, None) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_pytorch(name: str) -> None:
    plan = plan_of(name)
    network = Network(plan, np.float64)
    network.initialize(seed=3)
    rng = np.random.default_rng(4)
    network.parameters += 0.05 * rng.standard_normal(network.parameters.shape)  # biases are not 0
    model = torch_network.network(plan, {nn.Dropout: SameDropout})
    x = rng.random((IMAGES, *plan.input_shape))
    logits = network.forward(np.moveaxis(x, 0, -1).copy(), training=True).copy()
    expected = model(torch.tensor(x))
    np.testing.assert_allclose(logits.T, expected.detach().numpy(), rtol=0, atol=1e-10)
    dlogits = rng.standard_normal(logits.shape)
    network.backward(dlogits.copy())
    expected.backward(torch.tensor(dlogits.T.copy()))
    found = network.views(network.sums)
    for path, gradient in gradients(plan, model):
        layer, _, key = path.rpartition("/")
        limit = 1e-10 * max(1, np.abs(gradient).max())
        np.testing.assert_allclose(found[layer][key], gradient, rtol=0, atol=limit, err_msg=path)


@pytest.mark.parametrize("bias", [False, True])
def test_a_measured_step_moves_what_is_trained_and_leaves_the_whitening(bias: bool) -> None:
    plan = Plan([nn.Whitening(bias=bias), nn.ReLU(), nn.Flatten(), nn.Dense(2)], (3, 4, 4))
    Network(plan, np.float64).initialize(seed=3)
    model = torch_network.network(plan)
    before = [each.detach().clone() for each in model.parameters()]
    model(torch.ones(2, 3, 4, 4, dtype=torch.float64)).sum().backward()
    torch_baseline._update(model)
    moved = [bool((old != new).any()) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == [each.requires_grad for each in model.parameters()]
    assert not all(moved)


def test_these_networks_have_every_layer_of_dpcnn() -> None:
    used = {type(layer) for name in NETWORKS for _, layer in descendants(plan_of(name).root)}
    assert used == set(LAYERS.values())


def test_a_relu_overwrites_no_input_that_a_shortcut_reads() -> None:
    body = [nn.ReLU(), nn.BatchNorm(), nn.ReLU()]
    plan = Plan([nn.Convolution(2, 3), nn.ReLU(), nn.Residual(body), nn.ReLU()], (1, 8, 8))
    Network(plan)
    relus = [each for each in torch_network.network(plan).modules() if hasattr(each, "inplace")]
    assert [each.inplace for each in relus] == [True, False, True, True]
