"""Room `region` (imports `replica` and below): many logs over many files, their rows over others."""

from antiphon.region.face import Region

__all__ = ["Region"]
