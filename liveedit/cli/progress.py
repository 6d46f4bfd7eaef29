"""A progress bar on stderr, for the callback (done, total, label) that long functions take."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm


class ProgressBar:
    """The bar; entering it gives the callback, leaving it closes the bar."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def __enter__(self) -> Callable[[int, int, str], None]:
        return self.show

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, done: int, total: int, label: str) -> None:
        """Draw the bar."""
        if self.bar is None or self.bar.total != total:
            # Another total is another task: its bar comes below the one before.
            self.__exit__()
            self.bar = tqdm(total=total, initial=done, dynamic_ncols=True)
        self.bar.set_description(label, refresh=False)
        self.bar.update(done - self.bar.n)
