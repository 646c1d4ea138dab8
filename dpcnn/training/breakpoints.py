"""breakpoint() in a user's layer: what is in the way of a debugger's prompt is taken away first."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def before_breakpoints(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` before every breakpoint() that the body comes to.

    Python's own debugger stops at the breakpoint; one that PYTHONBREAKPOINT or the program has
    chosen is called as always, and may stop in the function here, one frame below.
    """
    usual = sys.breakpointhook

    def hook(*arguments: Any, **keywords: Any) -> Any:
        action()
        chosen = usual is not sys.__breakpointhook__ or os.environ.get("PYTHONBREAKPOINT")
        if chosen or arguments or keywords:
            return usual(*arguments, **keywords)
        from pdb import Pdb  # here, as few runs come to one

        return Pdb().set_trace(sys._getframe(1))

    sys.breakpointhook = hook
    try:
        yield
    finally:
        sys.breakpointhook = usual
