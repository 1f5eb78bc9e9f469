"""ardm: text diffusion that revises itself. See the book beside this package."""

__version__ = "0.1.0"
