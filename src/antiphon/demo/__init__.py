"""Room `demo` (imports everything below it): the main job on 258,145 real messages, then a page about it."""

from antiphon.demo.story import run

__all__ = ["run"]
