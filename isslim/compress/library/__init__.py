"""The package as a library: a model is compressed in the caller's own process."""

from isslim.compress.library.entry import compress as compress
