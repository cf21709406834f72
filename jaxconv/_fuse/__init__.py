"""Models made faster for inference, with the same outputs."""

from jaxconv._fuse.api import fuse as fuse
from jaxconv._fuse.report import FuseReport as FuseReport
