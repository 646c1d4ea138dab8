"""A network as an estimator of scikit-learn's kind: fit, predict, score, in pipelines too.

scikit-learn is not needed: an estimator is recognised by its methods. Its own classes are used
where it asks for them itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpcnn.api.estimator_input import InputError, Pixels, check_labels, not_fitted
from dpcnn.api.model import Model, load
from dpcnn.api.training import train
from dpcnn.nn.layer import Layer
from dpcnn.options import ALIASES, OPTIONS

Array = NDArray[Any]
Network = str | Sequence[Layer] | Callable[[tuple[int, int, int], int], Sequence[Layer]] | None

FEWEST = 2  # classes of a network
TESTED = 1000  # images of the training set that each epoch is tested on where there are no others


class Classifier:
    """Classifies images, as `dpcnn.train` and `dpcnn.load` do, with the methods of scikit-learn.

    Parameters
    ----------
    model : str, list of layers, or function, optional
        A network of the zoo or MODULE:FUNCTION; layers; or a function that makes them of the shape
        (C, H, W) of the images and the number of classes. The tutorial's network if left out.
    epochs : int
        Passes over the images that `fit` gets.
    image_shape : (C, H, W), optional
        What rows of values are; otherwise squares of 1 or 3 channels, or else 1 x 1 x values.
    **options
        Those of training, by name: see `help(dpcnn.train)`. Without `run_dir` nothing is kept on
        the disk.

    Attributes (after fit)
    ----------------------
    classes_ : the labels, sorted. model_ : the trained dpcnn.Model. metrics_ : an object an epoch.
    n_features_in_ : values of an image.

    Images: (N, C, H, W), (N, H, W, C), (N, H, W) or (N, values). What is written neither as in a
    file of images nor in [0, 1] is brought there by the smallest and largest value of `fit`.

    >>> import dpcnn
    >>> digits = dpcnn.read("digits", train_limit=1500, test_limit=300)
    >>> classifier = dpcnn.Classifier(epochs=2, lr=0.05, n_filter=8)
    >>> classifier = classifier.fit(digits.train.images, digits.train.labels)
    >>> 0.5 < classifier.score(digits.test.images, digits.test.labels) < 1
    True
    """

    def __init__(
        self,
        model: Network = None,
        epochs: int = 10,
        image_shape: tuple[int, int, int] | None = None,
        **options: Any,
    ) -> None:
        for name in options:
            if ALIASES.get(name, name) not in {*OPTIONS, "recipe"}:
                raise TypeError(f"unknown option {name}: see help(dpcnn.train)")
        self.model = model
        self.epochs = epochs
        self.image_shape = image_shape
        vars(self).update(options)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return what it was made with, and what was set since, by name."""
        return {name: value for name, value in vars(self).items() if _is_parameter(name)}

    def set_params(self, **params: Any) -> Self:
        """Set parameters and options by name; raises ValueError for an unknown one."""
        try:
            made = type(self)(**params)
        except TypeError as error:
            raise ValueError(str(error)) from None
        vars(self).update({name: getattr(made, name) for name in params})
        return self

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        x_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
    ) -> Self:
        """Train from the beginning on images and their labels (N,) of any kind; return itself.

        x_test, y_test: what to test on after each epoch; otherwise the first images of X. With them
        the bits are those of `dpcnn.train` with the same options. Raises InputError, a ValueError.
        """
        labels = check_labels(y)
        self.pixels_ = Pixels.of(X, self.image_shape)
        self.n_features_in_ = self.pixels_.values
        self.classes_ = np.unique(labels)
        self._train(X, labels, x_test, y_test, self.epochs, None)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Train one epoch more on these images, from the weights there are; return itself.

        classes: all labels there will be; needed at the first call. The optimizer begins anew.
        """
        labels = check_labels(y)
        if not hasattr(self, "model_"):
            if classes is None:
                raise InputError("found no classes= in the first call of partial_fit")
            self.pixels_ = Pixels.of(X, self.image_shape)
            self.n_features_in_ = self.pixels_.values
            self.classes_ = np.unique(check_labels(classes))
        self._train(X, labels, None, None, 1, getattr(self, "model_", None))
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the probability of each class for each image, (N, classes)."""
        if not hasattr(self, "model_"):
            raise not_fitted(type(self).__name__)
        found = self.model_.probabilities(self.pixels_.images(X))[:, : len(self.classes_)]
        probabilities = found.astype(np.float64)
        total: Array = probabilities / probabilities.sum(axis=1, keepdims=True)
        return total

    def predict(self, X: ArrayLike) -> Array:
        """Return the label of the most probable class of each image, (N,)."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy on images and their labels, weighted if there are weights (N,)."""
        right = self.predict(X) == check_labels(y)
        weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        return float(np.average(right, weights=weights))

    def save(self, path: str | Path) -> Path:
        """Write the trained network as a checkpoint, for `load`; raises OptionError."""
        if not hasattr(self, "model_"):
            raise not_fitted(type(self).__name__)
        return self.model_.save(path)

    def load(self, path: str | Path, classes: ArrayLike | None = None) -> Self:
        """Take the trained network of a checkpoint or run directory; return itself.

        classes: the labels of classes 0, 1, ..., otherwise these numbers.
        """
        model = load(path, self.model if isinstance(self.model, list) else None)
        count = model.network.plan.output_shape[0]
        self.classes_ = np.arange(count) if classes is None else np.unique(check_labels(classes))
        self.pixels_ = Pixels(model.options.image_shape, 0, 1)
        self.n_features_in_ = self.pixels_.values
        self.model_, self.metrics_ = model, list(model.checkpoint.metrics)
        return self

    def _train(
        self,
        X: ArrayLike,
        labels: Array,
        x_test: ArrayLike | None,
        y_test: ArrayLike | None,
        epochs: int,
        before: Model | None,
    ) -> None:
        """Train on images whose labels are among the classes, from the weights of `before`."""
        images, numbers = self.pixels_.images(X), self._numbers(labels)
        if len(images) != len(numbers):
            raise InputError(
                f"inconsistent numbers of samples: {len(images)} images, {len(numbers)} labels"
            )
        if len(np.unique(numbers)) < FEWEST:
            raise InputError("y holds 1 class, expected labels of at least 2 classes")
        tests = images[:TESTED], numbers[:TESTED]
        if x_test is not None and y_test is not None:
            tests = self.pixels_.images(x_test), self._numbers(check_labels(y_test))
        classes = max(FEWEST, len(self.classes_))
        network, options = self._network(classes)
        if options.get("dry_run"):
            raise InputError("dry_run is true, expected false: dpcnn.train() has dry runs")
        options |= {"epochs": epochs, "num_class": classes}
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpcnn-")))
            settings: dict[str, Any] = {"run_dir": folder / "run", "progress": "silent"} | options
            if before is not None:
                settings["init_from"] = before.save(folder / "before.h5")
            settings |= {"x_test": tests[0], "y_test": tests[1]}
            run = train(network, images, numbers, **settings)
        self.model_, self.metrics_ = run.model, run.metrics

    def _network(self, classes: int) -> tuple[Sequence[Layer] | None, dict[str, Any]]:
        """Return the layers, if they are the user's own, and the options of training."""
        options = self.get_params()
        model = options.pop("model")
        del options["image_shape"]
        if model is None or isinstance(model, str):
            return None, options | {"model": model}
        return (model(self.pixels_.shape, classes) if callable(model) else model), options

    def _numbers(self, labels: Array) -> Array:
        """Return the number of the class of each label; raises InputError for another label."""
        places = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        if not np.array_equal(self.classes_[places], labels):
            raise InputError("y has labels that are not among the classes of the first call")
        return places

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r:.60}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({given})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(three_d_array=True),
        )


def _is_parameter(name: str) -> bool:
    """Tell an attribute that is a parameter from what fit has found, and what others keep here."""
    return not (name.endswith("_") or name.startswith("_"))
