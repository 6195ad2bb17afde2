"""`reactor demo`: the main job on embedded defaults, live, with a check mark for each fact that was observed."""

from reactor.demo.run import run_demo

__all__ = ["run_demo"]
