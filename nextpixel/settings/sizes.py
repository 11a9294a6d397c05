"""Which sizes a layer may have. A wrong one is refused in one sentence before memory is allocated.

The upper bounds are far above anything in use. They catch typing errors, such as
features=999999999, which would otherwise exhaust the memory or never end.
"""

from nextpixel.errors import UsageError

__all__ = ["LARGEST_WIDTH", "check_between", "check_kernel_size", "check_width"]

LARGEST_KERNEL = 1023
LARGEST_WIDTH = 1 << 14


def check_between(name: str, value: int, least: int, most: int) -> None:
    """Raises UsageError unless least ≤ value ≤ most."""
    if value < least:
        raise UsageError(f"‹{name}› must be at least {least}, not {value}")
    if value > most:
        raise UsageError(f"‹{name}› must be at most {most:,}, not {value:,}")


def check_width(name: str, width: int, colours: int, *, of: str = "channels") -> None:
    """Raises UsageError unless a width is a positive multiple of the number of colours.

    Args:
        name: of the parameter that gives the width.
        width: number of feature maps.
        colours: how many colours are predicted one after another.
        of: the parameter that gives the number of colours.
    """
    if width < 1 or width % colours:
        below, above = width // colours * colours, (max(width, 0) // colours + 1) * colours
        use = f"{below} or {above}" if below > 0 else f"{above}"
        raise UsageError(
            f"‹{name}› must be a positive multiple of ‹{of}› ({colours}), not {width}; use {use}"
        )


def check_kernel_size(name: str, size: int, *, at_least: int = 1) -> None:
    """Raises UsageError unless a kernel size is odd, so that the kernel has a centre."""
    if size < at_least or size % 2 == 0:
        raise UsageError(f"‹{name}› must be an odd number of at least {at_least}, not {size}")
    check_between(name, size, at_least, LARGEST_KERNEL)
