"""What may be wrong with a user's network, each in one line that says where."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from dpcnn.errors import OptionError
from dpcnn.models.user import check_layers, import_network, user_network
from dpcnn.models.zoo import ZOO
from dpcnn.nn import Dense, Flatten, Layer, ReLU
from dpcnn.nn.config import to_config
from dpcnn.options import Options
from tests.networks import Swish, of_mnist

numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a module into the current directory, which Python does not look into by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code: str) -> str:
        name = f"my_module_{next(numbers)}"  # a module is imported once
        (tmp_path / f"{name}.py").write_text(f"from dpcnn.nn import *\n{code}\n")
        return name

    return write


def made_by(model: str) -> list[Layer]:
    return import_network(model)(of_mnist())


def line_of(refused: pytest.ExceptionInfo[OptionError]) -> str:
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


def test_a_module_of_the_current_directory_is_found_with_what_it_imports(module: Any) -> None:
    sizes = module("SIZES = [7, 10]")
    name = module(f"from {sizes} import SIZES\ndef build(): return [Dense(n) for n in SIZES]")
    assert to_config(made_by(f"{name}:build")) == to_config([Dense(7), Dense(10)])


def test_a_file_of_the_current_directory_replaces_no_module(module: Any, tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text("raise ValueError('imported')")
    name = module("import statistics\ndef build(): return [Dense(int(statistics.mean([10])))]")
    sys.modules.pop("statistics", None)
    assert to_config(made_by(f"{name}:build")) == to_config([Dense(10)])


def test_a_module_in_a_package_is_found(module: Any, tmp_path: Path) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/net.py").write_text("from dpcnn.nn import *\nbuild = lambda: [ReLU()]")
    assert to_config(made_by("my_package.net:build")) == to_config([ReLU()])


# The module, and what the line says: {} is the module's name.
MODULES = {
    "no function": ("", "no function named build in {}.py"),
    "a list": ("build = [Dense(10)]", "build in {}.py is a list, expected a function"),
    "a syntax error": ("\ndef build(:", "SyntaxError: invalid syntax ({}.py, line 3)"),
    "an error of the module": ("1 / 0", "ZeroDivisionError: division by zero ({}.py, line 2)"),
    "a missing module": ("import gone", "No module named 'gone' ({}.py, line 2)"),
    "an exit": ("import sys\nsys.exit('no')", "SystemExit: no ({}.py, line 3)"),
    "an error of the function": (
        "def build():\n    return nothing",
        "NameError: name 'nothing' is not defined ({}.py, line 3)",
    ),
    "an argument": ("def build(classes): pass", "missing 1 required positional argument"),
    "a wrong layer": (
        "def build():\n    return [Convolution(0, 3)]",
        "Convolution's filters is 0, expected an integer from 1 to 65536 ({}.py, line 3)",
    ),
    "nothing": ("def build(): pass", "the network is None, expected a list of layers"),
}


@pytest.mark.parametrize("case", MODULES)
def test_a_module_that_makes_no_network_is_refused(case: str, module: Any) -> None:
    code, words = MODULES[case]
    name = module(code)
    with pytest.raises(OptionError) as refused:
        made_by(f"{name}:build")
    line = line_of(refused)
    assert line.startswith(f"--model {name}:build: ")
    assert words.replace("{}", name) in line.replace(f"{Path.cwd()}/", "")


@pytest.mark.parametrize("model", ["net:", ":build", ":"])
def test_what_is_no_module_and_function_is_refused(model: str) -> None:
    with pytest.raises(OptionError) as refused:
        import_network(model)
    assert line_of(refused) == (
        f"--model is {model!r}, expected MODULE:FUNCTION such as my_module:build"
    )


def test_a_word_that_is_no_network_is_refused_with_those_there_are() -> None:
    with pytest.raises(OptionError) as refused:
        import_network("resnet9")
    assert line_of(refused) == (
        f"--model is 'resnet9', expected one of {', '.join(ZOO)}, or MODULE:FUNCTION such as"
        " my_module:build"
    )


def test_a_function_of_two_parameters_gets_the_images_shape_and_the_classes(module: Any) -> None:
    code = "def build(shape, classes, more=1): return [Dense(shape[2]), Dense(classes)]"
    expected = to_config([Dense(28), Dense(10)])
    assert to_config(made_by(f"{module(code)}:build")) == expected
    assert to_config(made_by("dpcnn.models.zoo:mlp")) == to_config(made_by("mlp"))


def test_a_function_whose_parameters_have_defaults_gets_nothing(module: Any) -> None:
    name = module("def build(hidden=20, classes=10): return [Dense(hidden), Dense(classes)]")
    assert to_config(made_by(f"{name}:build")) == to_config([Dense(20), Dense(10)])


@pytest.mark.parametrize("model", ["gone:build", "gone.net:build", "net.py:build", "json.gone:f"])
def test_a_module_that_is_not_there_is_named(model: str, module: Any) -> None:
    Path("net.py").touch()
    with pytest.raises(OptionError) as refused:
        import_network(model)
    assert "no module " in line_of(refused)
    assert f" in {Path.cwd()} or on PYTHONPATH" in line_of(refused)


class Unkept(Swish):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)


class Unmade(Layer):
    def __init__(self) -> None:
        pass


class Function(Swish):
    def __init__(self, slope: Any = abs) -> None:
        super().__init__(slope)


relu = ReLU()
LISTS: list[tuple[Any, str]] = [
    (3, "the network is 3, expected a list of layers"),
    ([], "the network is [], expected a list of layers"),
    (Dense(10), "the network is Dense(10), expected a list of layers"),
    ([relu, "relu"], "layer 2 is 'relu', expected a layer of dpcnn.nn or a subclass of Layer"),
    ([ReLU, Dense(10)], "layer 1 is the class ReLU, expected ReLU(...)"),
    ([relu, Flatten(), relu], "relu2 is the same object as relu1, expected another"),
    ([Unkept()], "layer 1 is Unkept(...), which does not keep its arguments as attributes"),
    ([Unmade()], "layer 1 is Unmade(...), whose __init__ does not call super().__init__()"),
    ([Function()], "slope is <built-in function abs>, expected text"),
    ([Swish([[1.0]])], "slope is [[1.0]]"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("layers", "words"), LISTS)
def test_what_is_no_list_of_layers_is_refused_by_its_place(layers: Any, words: str) -> None:
    with pytest.raises(OptionError) as refused:
        check_layers(layers)
    assert words in line_of(refused)


def test_the_users_layers_are_the_list_or_the_named_model(module: Any) -> None:
    layers = [Flatten(), Dense(10)]
    name = module("def build(): return [Dense(7)]")
    options = Options(model=f"{name}:build")
    assert user_network(Options(), frozenset(), None) is None
    listed = user_network(Options(), frozenset(), layers)
    assert listed is not None
    assert listed(of_mnist()) == layers
    named = user_network(options, frozenset({"model"}), None)
    assert named is not None
    assert to_config(named(of_mnist())) == to_config([Dense(7)])


def test_a_model_that_the_user_did_not_name_is_not_imported(module: Any) -> None:
    name = module("raise SystemExit('imported')")
    assert user_network(Options(model=f"{name}:build"), frozenset({"lr"}), None) is None


def test_options_of_the_tutorials_network_beside_the_users_are_refused() -> None:
    for model in ("a:b", "resnet8"):
        with pytest.raises(OptionError, match=f"found --stride beside --model {model}, expected "):
            user_network(Options(model=model), frozenset({"model", "stride"}), None)
    with pytest.raises(OptionError, match="found --n_filter beside a network of your own, expect"):
        user_network(Options(), frozenset({"n_filter"}), [Dense(10)])
    tutorial = user_network(Options(model="tutorial"), frozenset({"model", "n_filter"}), None)
    assert tutorial is not None
    assert len(tutorial(of_mnist(n_filter=2))) == 4
    with pytest.raises(OptionError, match="found --model beside a network of your own"):
        user_network(Options(model="a:b"), frozenset({"model"}), [Dense(10)])
