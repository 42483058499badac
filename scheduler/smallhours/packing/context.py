"""What a process takes on a GPU before its code does anything there."""

from typing import Final

#: CUDA's context and the libraries that come with it, until it was measured.
CONTEXT_BYTES: Final = 400 * 2**20
